"""The views say what the ledger says, in whatever room they have, and never wait for anything."""

import io
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console, RenderableType

from sweeper.ledger.ledger import Event, Ledger
from sweeper.sweep.board import Board, duration, one_line
from sweeper.sweep.live import (
    BLOCKS,
    JsonLines,
    LiveTable,
    PlainLines,
    answer,
    answer_json,
    frame,
    sparkline,
    view,
)

LR_G, LR_D, LOSS = "generator.optimizer.adam.lr", "discriminator.optimizer.adam.lr", "loss"
PLAN: dict[str, Any] = {
    "name": "ttur",
    "space": "ttur",
    "data": {"name": "digits", "examples": 1797, "shape": [1, 28, 28]},
    "metric": "fid_digits",
    "horizon_kimg": 28.8,
    "every_kimg": 3.2,
    "rungs": [3200, 9600],
    "factor": 3,
    "trials": 8,
    "seed": 0,
    "parameters": [
        {"name": LR_G, "kind": "float", "log": True},
        {"name": LR_D, "kind": "float", "log": True},
        {"name": LOSS, "kind": "choice"},
    ],
    "baselines": ["DCGAN default"],
    "concurrency": 2,
    "engine": "inline",
}
RATE = 1600


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Story:
    """Things that happen to the trials of a sweep, and are told to a view as a driver would."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger, self.views = ledger, list[Any]()

    def tell(self, event: Event) -> Event:
        for each in self.views:
            each.observe(event)
        return event

    def start(self, loss: str = "hinge", baseline: str | None = None) -> int:
        params = {LR_G: 1.2e-3, LR_D: 4e-4, LOSS: loss}
        number = self.ledger.add_trial(params, {}, baseline).number
        self.tell(self.ledger.started(number))
        return number

    def measure(
        self, trial: int, step: int, value: float, heldout: float | None = None, go: bool = True
    ) -> Event:
        data = {"best": value, "losses": {"discriminator.hinge": 0.5}, "heldout": heldout}
        data |= {"seconds": step / RATE, "images_per_second": RATE}
        decision, attempt = "continue" if go else "stop", self.ledger[trial].attempts
        return self.tell(self.ledger.measured(trial, attempt, step, value, decision, data))

    def complete(self, score: float, **kwargs: Any) -> int:
        trial = self.start(**kwargs)
        for k in range(1, 9):
            self.measure(trial, 3200 * k, score + 100 / k)
        self.measure(trial, 28800, score, heldout=score * 1.1)
        self.tell(self.ledger.ended(trial, "completed", "the full 28.8 kimg"))
        return trial

    def stop(self, score: float) -> int:
        trial = self.start()
        self.measure(trial, 3200, score, go=False)
        self.tell(self.ledger.ended(trial, "stopped", "rung 1: not among the best 1/3"))
        return trial

    def fail(self, state: Any = "failed", reason: str = "RuntimeError: out of memory") -> int:
        trial = self.start()
        self.tell(self.ledger.ended(trial, state, reason))
        return trial

    def whole(self) -> None:
        """A baseline, two that completed, three stopped, a divergence and a failure."""
        self.complete(60, baseline="DCGAN default")
        self.complete(40)
        self.complete(30, loss="non_saturating")
        for score in (200, 210, 220):
            self.stop(score)
        self.fail("diverged", "the discriminator hinge loss is not finite")
        self.fail()


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    with Ledger(tmp_path) as ledger:
        yield Story(ledger)


def shown(what: RenderableType, width: int = 120, soft_wrap: bool = True, **kwargs: Any) -> str:
    console = Console(file=io.StringIO(), width=width, **kwargs)
    console.print(what, soft_wrap=soft_wrap)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert isinstance(text, str)
    return text


def picture(story: Story, width: int = 120, height: int = 40, plan: Any = PLAN) -> str:
    now = time.time()
    return shown(frame(Board(plan, story.ledger), now - 400, now, width, height), width, False)


def plain(story: Story, act: Any) -> list[str]:
    out = io.StringIO()
    lines = PlainLines(PLAN, story.ledger, out)
    story.views.append(lines)
    act()
    lines.close()
    return out.getvalue().splitlines()


# Which view.


@pytest.mark.parametrize(
    ("file", "json_lines", "kind"),
    [
        (io.StringIO, False, PlainLines),
        (io.StringIO, True, JsonLines),
        (Terminal, False, LiveTable),
        (Terminal, True, JsonLines),
    ],
)
def test_the_view_suits_the_output(story: Story, file: Any, json_lines: bool, kind: type) -> None:
    console = Console(file=file(), force_terminal=file is Terminal, width=100)
    chosen = view(PLAN, story.ledger, json_lines=json_lines, console=console)
    chosen.close()
    assert isinstance(chosen, kind)


def test_a_pipe_is_no_terminal_even_with_colours_forced(story: Story) -> None:
    console = Console(file=io.StringIO(), force_terminal=True)
    assert isinstance(view(PLAN, story.ledger, json_lines=False, console=console), PlainLines)


# Plain lines.


def test_every_event_is_one_plain_line(story: Story) -> None:
    lines = plain(story, story.whole)
    assert len(lines) == len(story.ledger.events) + 2
    assert not any("\x1b" in line for line in lines)
    assert all(line[2] == line[5] == ":" for line in lines)


def test_a_rung_is_said_once_when_it_is_passed(story: Story) -> None:
    lines = plain(story, lambda: story.complete(40))
    marks = [line.split()[2:4] for line in lines if " fid_digits " in line][:-2]
    rungs = [words for words in marks if words[0] == "rung"]
    assert rungs == [["rung", "1/3"], ["rung", "2/3"], ["rung", "3/3"]]
    assert sum(words[0] == "measured" for words in marks) == 6
    assert any(
        line.endswith("t000 rung 2/3     9.6 kimg  fid_digits 73.3  best 73.3") for line in lines
    )


def test_lines_say_why_and_with_what(story: Story) -> None:
    def act() -> None:
        story.complete(60, baseline="DCGAN default")
        story.stop(200)
        story.fail(reason="\x1b[36mray::work\x1b[0m\n  RuntimeError:\tout of memory")
        trial = story.start()
        story.tell(story.ledger.lost(trial, "killed"))
        story.tell(story.ledger.started(trial))

    text = "\n".join(plain(story, act))
    assert "t000 started    baseline DCGAN default  lr_g 1.2e-03  lr_d 4.0e-04  loss hinge" in text
    assert "t001 stopped      3.2 kimg  fid_digits 200  rung 1: not among the best 1/3" in text
    assert "t002 failed       0.0 kimg  ray::work RuntimeError: out of memory" in text
    assert "t003 lost         0.0 kimg  attempt 1: killed" in text
    assert "t003 started    attempt 2 from 0.0 kimg" in text
    assert "3/8 trials ended, best fid_digits 60.0 (t000)" in text


def test_what_was_known_before_is_not_said_again(story: Story) -> None:
    trial = story.start()
    story.measure(trial, 3200, 100)

    def act() -> None:
        story.tell(story.ledger.started(trial))
        story.measure(trial, 3200, 100)
        story.measure(trial, 6400, 90)

    lines = plain(story, act)
    assert "going on after 2 events" in lines[0]
    assert [line.split()[2] for line in lines[1:-1]] == ["started", "measured"]


def test_a_reader_who_left_ends_nothing(story: Story) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    for chosen in (
        PlainLines(PLAN, story.ledger, Gone()),
        JsonLines(PLAN, story.ledger, Gone(), PlainLines(PLAN, story.ledger, io.StringIO())),
    ):
        story.views.append(chosen)
        story.whole()
        chosen.close()


def test_a_stream_without_unicode_is_written_to_all_the_same(story: Story) -> None:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii")
    lines = PlainLines({**PLAN, "name": "größe 图"}, story.ledger, out)
    lines.close()
    assert b"gr??e ?" in raw.getvalue()


# JSON lines.


def test_every_kind_of_event_is_valid_json(story: Story) -> None:
    out, human = io.StringIO(), io.StringIO()
    chosen = JsonLines(PLAN, story.ledger, out, PlainLines(PLAN, story.ledger, human))
    story.views.append(chosen)
    story.whole()
    trial = story.start()
    story.measure(trial, 3200, math.nan)
    story.tell(story.ledger.lost(trial, "killed"))
    chosen.close()
    chosen.close()

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    lines = [json.loads(line, parse_constant=refuse) for line in out.getvalue().splitlines()]
    assert all(line["schema"] == 1 for line in lines)
    kinds = [line["event"] for line in lines]
    assert set(kinds) == {"sweep", "started", "measured", "rung", "ended", "lost", "answer"}
    assert kinds[0] == "sweep"
    assert kinds.count("answer") == 1
    assert kinds[-1] == "answer"
    rungs = [(r["trial"], r["rung"], r["rungs"]) for r in lines if r["event"] == "rung"]
    assert rungs[:4] == [("t000", 1, 3), ("t000", 2, 3), ("t000", 3, 3), ("t001", 1, 3)]
    ended = [line for line in lines if line["event"] == "ended"]
    assert [e["state"] for e in ended[-2:]] == ["diverged", "failed"]
    assert ended[2]["score"] == 30
    assert ended[2]["heldout"] == pytest.approx(33)
    nan = next(line for line in lines if line["event"] == "measured" and line["number"] == trial)
    assert nan["value"] is None
    assert "t008 lost" in human.getvalue()


# The picture.


@given(st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=40), st.integers(1, 12))
def test_sparklines_rise_and_fall_with_the_values(values: list[float], width: int) -> None:
    line = sparkline(values, width)
    assert len(line) == min(width, len(values))
    assert set(line) <= set(BLOCKS)
    if len(values) <= width:
        for a, block in zip(values, line, strict=True):
            for b, other in zip(values, line, strict=True):
                assert a > b or BLOCKS.index(block) <= BLOCKS.index(other)


def test_sparklines_of_nothing_and_of_one() -> None:
    assert sparkline([]) == ""
    assert sparkline([0.0]) == sparkline([5.0]) == "▁"
    assert sparkline([100, 10, 1]) in ("█▅▁", "█▄▁")


@pytest.mark.parametrize("width", [30, 40, 60, 80, 100, 120, 160, 250])
def test_the_picture_keeps_to_the_width(story: Story, width: int) -> None:
    story.whole()
    trial = story.start()
    story.measure(trial, 3200, 90)
    text = picture(story, width)
    assert all(cell_len(line) <= width for line in text.splitlines())
    assert all(words in text for words in ("8/9 trials", "30.0", "t002"))


def test_wider_terminals_show_more(story: Story) -> None:
    story.whole()
    trial = story.start()
    story.measure(trial, 3200, 90)
    narrow, wide = picture(story, 80), picture(story, 120)
    assert "lr_g" in narrow
    assert "img/s" not in narrow
    assert all(title in wide for title in ("lr_g", "lr_d", "loss", "img/s", "left", "curve"))


def test_running_first_then_the_best_and_the_others_counted(story: Story) -> None:
    story.whole()
    trial = story.start()
    story.measure(trial, 3200, 90)
    text = picture(story, plan={**PLAN, "trials": 12})
    rows = [line.split()[0] for line in text.splitlines() if line.startswith("t0")]
    assert rows[:6] == ["t008", "t002", "t001", "t000", "t003", "t004"]
    assert "1 more stopped, 1 diverged, 1 failed, 3 to come" in text
    assert "t000 ◆ DCGAN default" in text
    assert "t007 failed: RuntimeError: out of memory" in text
    assert "best FID 30.0 t002" in text
    assert "8/12 trials" in text


def test_many_trials_fit_a_low_terminal(story: Story) -> None:
    story.whole()
    for _ in range(60):
        story.start()
    lines = picture(story, height=24).splitlines()
    assert len(lines) < 24
    assert any(line.startswith("t002") for line in lines)
    assert any("more running" in line for line in lines)


def test_a_sweep_that_has_just_begun(story: Story) -> None:
    text = picture(story)
    assert "0% · 0/8 trials" in text
    assert "8 to come" in text
    assert "left" not in text.splitlines()[1]


def test_names_may_be_anything(story: Story) -> None:
    trial = story.start(loss="[red]损失函数[/] 🙂" * 4, baseline="Größe [bold]图[/]")
    story.measure(trial, 3200, 90)
    text = picture(story, 100, plan={**PLAN, "name": "[blink]图像"})
    assert "[blink]图像" in text
    assert "Größe [bold]图[/]" in text
    assert all(cell_len(line) <= 100 for line in text.splitlines())


def test_colours_can_be_turned_off(story: Story) -> None:
    story.whole()
    now = time.time()
    what = frame(Board(PLAN, story.ledger), now, now, 100, 30)
    kwargs: dict[str, Any] = {"force_terminal": True, "color_system": "truecolor"}
    assert "\x1b[3" in shown(what, 100, **kwargs)
    assert "\x1b[3" not in shown(what, 100, no_color=True, **kwargs)


def test_the_table_draws_what_happened_and_stays(story: Story) -> None:
    out = Terminal()
    table = LiveTable(PLAN, story.ledger, Console(file=out, force_terminal=True, width=100), 0.0)
    story.views.append(table)
    story.whole()
    table.close()
    table.close()
    assert "8/8 trials" in out.getvalue()
    assert out.getvalue().endswith("\x1b[?25h")


# The time left.


def test_time_left_is_unknown_before_there_is_any_cost(story: Story) -> None:
    story.start()
    assert Board(PLAN, story.ledger).seconds_left(time.time()) is None


def test_time_left_expects_stops(story: Story) -> None:
    trial = story.start()
    story.measure(trial, 3200, 100)
    full = PLAN["trials"] * 28800 / RATE / PLAN["concurrency"]
    left = Board(PLAN, story.ledger).seconds_left(time.time())
    assert left is not None
    assert full * 0.1 < left < full * 0.6


def test_time_left_falls_to_nothing(story: Story) -> None:
    lefts = []
    for n in range(8):
        story.stop(200) if n else story.complete(60, baseline="DCGAN default")
        left = Board(PLAN, story.ledger).seconds_left(time.time())
        assert left is not None
        lefts.append(left)
    assert lefts == sorted(lefts, reverse=True)
    assert lefts[-1] == 0


def test_a_baseline_under_way_is_expected_to_run_to_its_end(story: Story) -> None:
    plan = {**PLAN, "trials": 1}
    trial = story.start(baseline="DCGAN default")
    event = story.measure(trial, 9600, 100)
    left = Board(plan, story.ledger).seconds_left(event.at)
    assert left == pytest.approx((28800 - 9600) / RATE)


def test_the_share_of_work_counts_running_trials_in_part(story: Story) -> None:
    story.stop(200)
    trial = story.start()
    story.measure(trial, 14400, 100)
    assert Board(PLAN, story.ledger).share() == pytest.approx(1.5 / 8)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (59.7, "1m"), (3599, "1h00m"), (3900, "1h05m"), (183600, "2d03h"), (None, "–")],
)
def test_durations_are_short(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_one_line_strips_what_a_terminal_would_obey() -> None:
    assert one_line("a\n\tb \x1b[31mred\x1b[0m\x07") == "a b red"


# The answer.


def test_the_answer_has_the_numbers(story: Story, tmp_path: Path) -> None:
    story.whole()
    found = answer_json(PLAN, story.ledger, Path("results/ttur"))
    assert [row["trial"] for row in found["best"]] == ["t002", "t001", "t003"]
    assert found["best"][0]["score"] == 30
    assert found["best"][0]["heldout"] == pytest.approx(33)
    assert found["baselines"][0]["heldout"] == pytest.approx(66)
    assert found["ratio_heldout"] == pytest.approx(2)
    assert found["complete"] is True
    assert found["share_of_full"] == pytest.approx((3 * 28800 + 3 * 3200) / (8 * 28800))
    assert [f["state"] for f in found["failures"]] == ["diverged", "failed"]
    json.dumps(found, allow_nan=False)


def test_the_answer_reads_plainly(story: Story) -> None:
    story.whole()
    text = shown(answer(PLAN, story.ledger, Path("results/ttur")))
    lines = text.splitlines()
    assert lines[0] == (
        "Best fid_digits 30.0 by t002 (held-out 33.0); DCGAN default 60.0 (held-out 66.0): "
        "2.0× lower on held-out."
    )
    assert (
        lines[1] == "3 of 8 trials stopped early; the sweep took 42% of the images of full trials."
    )
    assert "1 diverged, the first (t006): the discriminator hinge loss is not finite" in text
    assert "1 failed, the first (t007): RuntimeError: out of memory" in text
    table = {words[0]: words[1:] for line in lines if len(words := line.split()) > 3}
    assert table["held-out"] == ["33.0", "44.0", "–", "66.0"]
    assert table["loss"] == ["non_saturating", "hinge", "hinge", "hinge"]
    assert "\x1b" not in text
    for command in (
        "  sweeper ui results/ttur",
        "  open results/ttur/report.html",
        "  sweeper resume results/ttur --trials 32",
        "  sweeper run search_spaces/ttur.yaml --data path/to/your/images",
    ):
        assert any(line.startswith(command) for line in lines)


def test_commands_stay_whole_in_a_narrow_window(story: Story) -> None:
    story.whole()
    folder = Path("results of many sweeps") / ("x" * 60)
    text = shown(answer(PLAN, story.ledger, folder), 60, force_terminal=True, color_system=None)
    assert f"  sweeper ui 'results of many sweeps/{'x' * 60}'\n" in text
    prose = text.split("\n\n")[0]
    assert all(cell_len(line) <= 60 for line in prose.splitlines())


def test_the_answer_when_nothing_succeeded(story: Story) -> None:
    story.fail()
    text = shown(answer(PLAN, story.ledger, Path("results/ttur")))
    assert text.startswith("No searched trial came to a score that counts.")
    assert "1 of 8 trials have ended." in text
    assert "sweeper resume results/ttur\n" in text or "sweeper resume results/ttur  " in text
    found = answer_json(PLAN, story.ledger, Path("results/ttur"))
    assert found["best"] == []
    assert found["ratio_heldout"] is None


def test_the_answer_of_an_empty_ledger(story: Story) -> None:
    assert "0 of 8 trials" in shown(answer(PLAN, story.ledger, Path("r")))
    assert answer_json(PLAN, story.ledger, Path("r"))["share_of_full"] is None


def test_the_answer_without_a_baseline(story: Story) -> None:
    story.complete(40)
    lines = shown(answer(PLAN, story.ledger, Path("r"))).splitlines()
    assert lines[0] == "Best fid_digits 40.0 by t000 (held-out 44.0)."


def test_the_answer_says_so_when_the_baseline_is_better(story: Story) -> None:
    story.complete(20, baseline="DCGAN default")
    story.complete(40)
    assert "2.0× higher on held-out." in shown(answer(PLAN, story.ledger, Path("r")))


def test_no_ratio_where_the_best_never_came_to_the_horizon(story: Story) -> None:
    story.complete(60, baseline="DCGAN default")
    story.stop(50)
    text = shown(answer(PLAN, story.ledger, Path("r")))
    assert "Held-out values are known of trials that ran to the horizon." in text
    assert answer_json(PLAN, story.ledger, Path("r"))["ratio_heldout"] is None


def test_a_diverged_trial_is_never_the_best(story: Story) -> None:
    story.complete(60)
    trial = story.start()
    story.measure(trial, 3200, 10)
    story.tell(story.ledger.ended(trial, "diverged", "not finite"))
    assert answer_json(PLAN, story.ledger, Path("r"))["best"][0]["trial"] == "t000"
