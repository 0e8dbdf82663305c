"""Lists of pictures: the encoding of their text, their forms, and the parts that a list is read into."""
