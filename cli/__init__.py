"""The command line: one file per noun, each imported only when its command is used. The contract is ``docs/design/cli.md``."""
