"""A sample set of drawn faces with planted faults. Read in this order: person, shot, shapes, hair, scene, drawing,
album, planted_faults, sample_plan, write."""
