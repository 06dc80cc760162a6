def greeting():
    return "Hello from a Python Worker"
