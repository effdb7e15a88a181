module outrigger.dev/e2e/toil

go 1.26
