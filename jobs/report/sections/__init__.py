"""The parts of the page: for each one a file that reads its numbers and a template of the same name that shows them."""
