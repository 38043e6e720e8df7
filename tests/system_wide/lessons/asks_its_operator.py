import socket
import sys

with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as server:
    while True:
        message = input("you: ")
        if message == "exit":
            break
        server.send(message.encode())
        answer = server.recv(1024)
        if not answer:
            print("the server has gone")
            break
        print("server:", answer.decode())
