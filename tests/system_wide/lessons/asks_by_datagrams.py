import socket
import sys

server = ("127.0.0.1", int(sys.argv[1]))
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
    while True:
        message = input("you: ")
        if message == "exit":
            break
        client.sendto(message.encode(), server)
        answer, address = client.recvfrom(1024)
        print("server:", answer.decode())
