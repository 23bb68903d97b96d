def total(prices):
    """The sum, if only somebody had closed the bracket."""
    return sum((price for price in prices)


print(total([1, 2, 3]))
