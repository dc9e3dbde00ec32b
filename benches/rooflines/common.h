/* What the rooflines share. They use librdkafka and nothing of ours. */
#ifndef ROOFLINES_COMMON_H
#define ROOFLINES_COMMON_H

#define _GNU_SOURCE

#include <inttypes.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "rdkafka.h"

__attribute__((noreturn, format(printf, 1, 2))) static inline void die(const char *format, ...) {
        va_list arguments;
        va_start(arguments, format);
        vfprintf(stderr, format, arguments);
        va_end(arguments);
        fputc('\n', stderr);
        exit(1);
}

static inline void check(rd_kafka_resp_err_t code, const char *what) {
        if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
                die("%s: %s", what, rd_kafka_err2str(code));
}

static inline void set(rd_kafka_conf_t *conf, const char *name, const char *value) {
        char error[512];
        if (rd_kafka_conf_set(conf, name, value, error, sizeof(error)) != RD_KAFKA_CONF_OK)
                die("%s", error);
}

/* Sets each NAME=VALUE of a list with commas between. */
static inline void set_list(rd_kafka_conf_t *conf, const char *list) {
        char *copy = strdup(list), *rest = copy, *pair;
        while ((pair = strsep(&rest, ","))) {
                char *value = strchr(pair, '=');
                if (*pair == '\0')
                        continue;
                if (!value)
                        die("no value in %s", pair);
                *value = '\0';
                set(conf, pair, value + 1);
        }
        free(copy);
}

static inline rd_kafka_conf_t *conf_of(const char *brokers, const char *settings) {
        rd_kafka_conf_t *conf = rd_kafka_conf_new();
        set(conf, "bootstrap.servers", brokers);
        set_list(conf, settings);
        return conf;
}

static inline rd_kafka_t *client(rd_kafka_type_t type, rd_kafka_conf_t *conf) {
        char error[512];
        rd_kafka_t *rk = rd_kafka_new(type, conf, error, sizeof(error));
        if (!rk)
                die("%s", error);
        return rk;
}

static inline double seconds(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

#endif
