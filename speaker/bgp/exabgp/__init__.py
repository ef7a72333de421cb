"""ExaBGP, pinned exactly, as the engine of a gateway: it keeps TCP, timers and capabilities; UPDATEs pass through it.

launcher.py     the process: ExaBGP with our replacements, under a configuration of ours
symbols.py      what is replaced or relied on, by hash of its source; another ExaBGP is refused by name
patches.py      the replacements
config.py       plan -> ExaBGP configuration (sessions only), pure
reconfigure.py  a changed configuration into a running ExaBGP, verified
"""
