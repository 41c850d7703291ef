"""What things are: pure values and their bytes. Imports no sibling."""
