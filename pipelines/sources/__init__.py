"""The kinds of source. Read `entry` (what every kind speaks in), `kinds` (the table), then a kind, such as `folder`."""
