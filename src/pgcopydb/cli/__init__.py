"""The command line: parse, build the options, call one function, show what it gave."""
