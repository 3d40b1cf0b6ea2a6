"""`python -m deluge_sync` is `deluge-sync`."""

from .cli import main

raise SystemExit(main())
