"""nicproof's mechanics: labs, hosts, network paths, guests, measurement.

Layered as docs/design.md draws it; nothing here imports pytest, pandas or matplotlib.
"""

__version__ = "0.1.0"
