"""pytest's side of the harness; everything lives in fixtures/."""

# A plugin that others import comes before them, so that pytest can rewrite its assertions.
pytest_plugins = [
    "fixtures.options",
    "fixtures.progress",
    "fixtures.errors",
    "fixtures.history",
    "fixtures.crashes",
    "fixtures.artifacts",
    "fixtures.lab",
    "fixtures.path",
    "fixtures.measure",
    "fixtures.pairs",
    "fixtures.cases",
    "fixtures.certificate",
    "fixtures.health",
    "fixtures.qualify",
    "fixtures.hosts",
]
