/* What the tests of a node run in Pods, from an image that holds nothing else.
 *
 *   probe serve PORT TEXT       answer every HTTP request with TEXT
 *   probe get HOST PORT         print the whole answer of http://HOST:PORT/
 *   probe eat                   take memory until the kernel ends it
 */
#include <netdb.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void end(int number) {
    (void)number;
    _exit(0);
}

static int serve(const char *port, const char *text) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
    int listener = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 64)) {
        perror("listen");
        return 1;
    }
    signal(SIGTERM, end); /* the first process of a namespace has no default action */
    signal(SIGPIPE, SIG_IGN);
    for (;;) {
        int connection = accept(listener, NULL, NULL);
        char request[4096];
        if (connection < 0) continue;
        if (read(connection, request, sizeof request) > 0)
            dprintf(connection, "HTTP/1.0 200 OK\r\nContent-Length: %zu\r\n\r\n%s", strlen(text), text);
        close(connection);
    }
}

static int get(const char *host, const char *port) {
    struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *found;
    int error = getaddrinfo(host, port, &hints, &found);
    if (error) {
        fprintf(stderr, "%s: %s\n", host, gai_strerror(error));
        return 1;
    }
    int connection = socket(found->ai_family, found->ai_socktype, 0);
    if (connect(connection, found->ai_addr, found->ai_addrlen)) {
        perror(host);
        return 1;
    }
    dprintf(connection, "GET / HTTP/1.0\r\nHost: %s\r\n\r\n", host);
    char answer[4096];
    ssize_t length;
    while ((length = read(connection, answer, sizeof answer)) > 0) fwrite(answer, 1, length, stdout);
    if (length < 0) {
        perror(host);
        return 1;
    }
    return 0;
}

_Noreturn static void eat(void) {
    for (;;) {
        char *block = malloc(1 << 20);
        if (block) memset(block, 1, 1 << 20);
    }
}

int main(int count, char **words) {
    if (count == 4 && !strcmp(words[1], "serve")) return serve(words[2], words[3]);
    if (count == 4 && !strcmp(words[1], "get")) return get(words[2], words[3]);
    if (count == 2 && !strcmp(words[1], "eat")) eat();
    fputs("usage: probe serve PORT TEXT | get HOST PORT | eat\n", stderr);
    return 2;
}
