"""The kinds of source. Read `entry` (the shared types), `kinds` (the interface), then a kind, such as `folder`."""
