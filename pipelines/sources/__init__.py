"""The kinds of source. Read `entry` (the shared types), `reading` (the interface), then a kind, such as `folder`."""
