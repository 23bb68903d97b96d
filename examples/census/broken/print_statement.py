print "Hello from another decade"
