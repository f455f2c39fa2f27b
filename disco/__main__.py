"""``python -m disco`` is ``disco``."""

from disco.cli import main

if __name__ == "__main__":
    main(prog_name="disco")
