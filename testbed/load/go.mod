module testbed/load

go 1.25.0
