"""What the fault suite shares with the tests of sweeps."""

from tests.sweep.conftest import command as command
from tests.sweep.conftest import migrated as migrated
from tests.sweep.conftest import temporary as temporary
