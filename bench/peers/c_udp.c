/* The C reference for datagrams, in three variants.
 *
 * c_udp HOST PORT recvfrom     one recvfrom and one sendto per datagram
 * c_udp HOST PORT recvmmsg     up to 64 datagrams per system call, in both directions
 * c_udp HOST PORT gro          UDP_GRO in, UDP_SEGMENT out: datagrams sent as one are received and sent as one
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

enum { BATCH = 64, LARGEST = 65536 };

static char buffers[BATCH][LARGEST];

static void one_by_one(int fd)
{
    struct sockaddr_in peer;

    for (;;) {
        socklen_t length = sizeof peer;
        ssize_t n = recvfrom(fd, buffers[0], LARGEST, 0, (struct sockaddr *)&peer, &length);
        if (n >= 0)
            sendto(fd, buffers[0], (size_t)n, 0, (struct sockaddr *)&peer, length);
    }
}

static void by_batches(int fd)
{
    static struct sockaddr_in peers[BATCH];
    static struct iovec parts[BATCH];
    static struct mmsghdr messages[BATCH];

    for (;;) {
        for (int i = 0; i < BATCH; i++) {
            parts[i] = (struct iovec){.iov_base = buffers[i], .iov_len = LARGEST};
            messages[i].msg_hdr = (struct msghdr){.msg_name = &peers[i], .msg_namelen = sizeof peers[i],
                                                  .msg_iov = &parts[i], .msg_iovlen = 1};
        }
        int n = recvmmsg(fd, messages, BATCH, MSG_WAITFORONE, NULL);
        for (int i = 0; i < n; i++)
            parts[i].iov_len = messages[i].msg_len;
        for (int sent = 0, r; sent < n; sent += r)
            if ((r = sendmmsg(fd, messages + sent, (unsigned)(n - sent), 0)) <= 0)
                r = 1; /* the first cannot be sent: continue with the next */
    }
}

static void coalesced(int fd)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    struct sockaddr_in peer;
    int one = 1;

    if (setsockopt(fd, IPPROTO_UDP, UDP_GRO, &one, sizeof one) < 0) {
        perror("UDP_GRO");
        exit(1);
    }
    for (;;) {
        struct iovec part = {.iov_base = buffers[0], .iov_len = LARGEST};
        struct msghdr m = {.msg_name = &peer, .msg_namelen = sizeof peer, .msg_iov = &part, .msg_iovlen = 1,
                           .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
        ssize_t n = recvmsg(fd, &m, 0);
        if (n < 0)
            continue;
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        int segment = 0;
        if (c != NULL && c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO)
            memcpy(&segment, CMSG_DATA(c), sizeof segment);
        part.iov_len = (size_t)n;
        m.msg_controllen = 0;
        if (segment > 0 && segment < n) {
            uint16_t size = (uint16_t)segment;
            m.msg_controllen = CMSG_SPACE(sizeof size);
            c = CMSG_FIRSTHDR(&m);
            c->cmsg_level = IPPROTO_UDP;
            c->cmsg_type = UDP_SEGMENT;
            c->cmsg_len = CMSG_LEN(sizeof size);
            memcpy(CMSG_DATA(c), &size, sizeof size);
        }
        sendmsg(fd, &m, 0);
    }
}

static void roomy(int fd, int forced, int asked)
{
    int bytes = 4 << 20;

    if (setsockopt(fd, SOL_SOCKET, forced, &bytes, sizeof bytes) < 0)
        setsockopt(fd, SOL_SOCKET, asked, &bytes, sizeof bytes);
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        fputs("c_udp HOST PORT recvfrom|recvmmsg|gro\n", stderr);
        return 2;
    }
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(argv[2]))};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);

    inet_pton(AF_INET, argv[1], &at.sin_addr);
    roomy(fd, SO_RCVBUFFORCE, SO_RCVBUF);
    roomy(fd, SO_SNDBUFFORCE, SO_SNDBUF);
    if (bind(fd, (struct sockaddr *)&at, sizeof at) < 0) {
        perror("bind");
        return 1;
    }
    puts("ready");
    fflush(stdout);
    if (strcmp(argv[3], "recvfrom") == 0)
        one_by_one(fd);
    else if (strcmp(argv[3], "recvmmsg") == 0)
        by_batches(fd);
    else
        coalesced(fd);
}
