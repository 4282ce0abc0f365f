"""Strings of bits: targets over all 2ⁿ of them, with everything exact by enumeration."""
