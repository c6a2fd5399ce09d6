"""Closed forms: what each technique computes, worked out by hand."""
