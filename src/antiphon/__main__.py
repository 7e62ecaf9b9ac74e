"""``python -m antiphon VERB ...``: the command line, for ``torchrun -m antiphon`` above all."""

from __future__ import annotations

import sys

from antiphon.cli import main

if __name__ == "__main__":
    sys.exit(main())
