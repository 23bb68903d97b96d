def misplaced(value):
    if value:
        value += 1
      return value
