"""`python -m steerd` is `steerd`."""

from __future__ import annotations

from steerd.cli.main import main

if __name__ == "__main__":
    main()
