"""pytest's side of the harness; everything lives in fixtures/."""

pytest_plugins = ["fixtures.plugins"]
