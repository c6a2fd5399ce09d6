"""Several hosts on one machine: `ray up`, and what it brings up."""
