module testbed/load

go 1.24.0
