def mixed(value):
	if value:
        return 1
	return 0
