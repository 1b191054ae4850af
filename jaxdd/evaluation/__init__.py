"""How good a set is: fresh networks beside random real subsets."""
