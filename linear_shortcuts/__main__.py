"""`python -m linear_shortcuts` is the command `linear-shortcuts`."""

from linear_shortcuts.commands.command_line import main

if __name__ == "__main__":
    main()
