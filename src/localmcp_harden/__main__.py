"""`python -m localmcp_harden`: the command line, wherever the script is not on the path."""

from .cli import main

if __name__ == "__main__":
    main()
