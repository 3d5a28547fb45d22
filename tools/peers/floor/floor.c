/*
 * floor ADDRESS PORT FILE: a server with one epoll loop that does as little as possible for a
 * request. It reads, finds the end of the header, and writes the content of FILE. It parses nothing
 * else, has no timeouts, and closes a connection if one write does not send the whole response.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { max_fds = 65536, max_events = 512 };

static char answer[4096];
static size_t answer_len;

/* Per connection: the last bytes of a header whose end may be split over two reads. */
static struct { unsigned char len; char bytes[3]; } rest[max_fds];

/* serve reads once and answers each header whose end it finds. It returns 0 to close the connection. */
static int serve(int fd)
{
	static char buf[3 + 16384];
	size_t have = rest[fd].len;
	memcpy(buf, rest[fd].bytes, have);
	ssize_t n = read(fd, buf + have, sizeof buf - have);
	if (n <= 0)
		return 0;
	char *at = buf, *end = buf + have + n, *found;
	while ((found = memmem(at, end - at, "\r\n\r\n", 4)) != NULL) {
		at = found + 4;
		if (write(fd, answer, answer_len) != (ssize_t)answer_len)
			return 0;
	}
	rest[fd].len = end - at < 3 ? end - at : 3;
	memcpy(rest[fd].bytes, end - rest[fd].len, rest[fd].len);
	return 1;
}

int main(int argc, char **argv)
{
	if (argc != 4)
		errx(2, "usage: floor ADDRESS PORT FILE");
	FILE *file = fopen(argv[3], "rb");
	if (file == NULL || (answer_len = fread(answer, 1, sizeof answer, file)) == 0)
		err(1, "%s", argv[3]);
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[2]))};
	if (inet_pton(AF_INET, argv[1], &addr.sin_addr) != 1)
		errx(1, "not an IPv4 address: %s", argv[1]);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(listener, (struct sockaddr *)&addr, sizeof addr) || listen(listener, 4096))
		err(1, "cannot listen");
	int ep = epoll_create1(0);
	struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, events[max_events];
	epoll_ctl(ep, EPOLL_CTL_ADD, listener, &event);
	for (;;) {
		int n = epoll_wait(ep, events, max_events, -1);
		for (int i = 0; i < n; i++) {
			int fd = events[i].data.fd;
			if (fd != listener) {
				if (!serve(fd))
					close(fd);
				continue;
			}
			while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
				if (fd >= max_fds) {
					close(fd);
					continue;
				}
				rest[fd].len = 0;
				event.data.fd = fd;
				epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event);
			}
		}
	}
}
