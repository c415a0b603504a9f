"""The command line: app, output, then one file a command."""
