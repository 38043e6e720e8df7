// The least that a client can do: sends a datagram, waits for the reply, and repeats. Prints the median round-trip time.
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static int64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static int ascending(const void *a, const void *b) {
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return (x > y) - (x < y);
}

int main(int argc, char **argv) {
  if (argc != 4) return 2;
  int count = atoi(argv[2]), pause = atoi(argv[3]);  // microseconds between probes
  int64_t *times = malloc(sizeof *times * count);
  int fd = socket(AF_INET, SOCK_DGRAM, 0);
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr = {htonl(INADDR_LOOPBACK)}};
  char data[64] = {0};
  if (!times || fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to)) return 1;
  for (int i = 0; i < count; i++) {
    usleep(pause);
    int64_t began = now();
    if (send(fd, data, sizeof data, 0) != sizeof data || recv(fd, data, sizeof data, 0) != sizeof data) return 1;
    times[i] = now() - began;
  }
  qsort(times, count, sizeof *times, ascending);
  printf("%.3f %.3f\n", times[count / 2] / 1000.0, times[count * 99 / 100] / 1000.0);
  return 0;
}
