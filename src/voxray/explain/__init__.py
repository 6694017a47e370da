"""The glass box: see, attribute and test every joint of a synthesis."""
