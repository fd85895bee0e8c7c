"""``python -m pgcopydb`` is the command ``pgcopydb``."""

from pgcopydb.cli.start import main

if __name__ == "__main__":
    main()
