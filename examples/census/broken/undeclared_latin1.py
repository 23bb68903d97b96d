drink = "café"
price = 3
