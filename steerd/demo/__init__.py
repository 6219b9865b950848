"""A whole small world on loopback: model servers and what `steerd demo` needs to show traffic move."""
