"""Bad input, made by the thousand, against the real command line: no traceback, no loss, no silent change."""
