"""The commands of the command line, by what they are about; `lerac.cli` puts them together."""
