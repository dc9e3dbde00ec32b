/* An open loop: records at a fixed rate into one topic, and how long each takes until it is read from another.
 *
 *     latency BROKERS CONSUMER_SETTINGS PRODUCER_SETTINGS FROM TO RATE SECONDS WARMUP_SECONDS HEALTHY
 *
 * Settings are NAME=VALUE with commas between. A record's value holds the time at which it was due to be sent, so a stall
 * of the sender, or of whoever stands between the topics, counts against every record that was due meanwhile. Keys are
 * key-0000 to key-0999 in random order; latencies are those of the first HEALTHY keys, after the warm-up. Every record
 * has to come out once. Prints "COUNT P50 P99 MAX", in microseconds. */
#include "common.h"

#include <pthread.h>

#define KEYS 1000
#define VALUE_BYTES 300
/* How long the last records may take. */
#define PATIENCE 60.0

struct loop {
        const char *brokers, *settings, *to;
        long records, healthy;
        int64_t counts_from; /* when the warm-up ends, in nanoseconds of the monotonic clock */
        uint32_t *latencies; /* microseconds */
        long measured;
};

static int64_t nanoseconds(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void delivered(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque) {
        (void)rk;
        (void)opaque;
        check(message->err, "delivery");
}

static void note(struct loop *loop, const rd_kafka_message_t *message, int64_t now) {
        char due[21] = {0}, key[9] = {0};
        if (message->len != VALUE_BYTES || message->key_len != 8)
                die("a record that was not sent came out");
        memcpy(due, message->payload, 20);
        memcpy(key, message->key, 8);
        int64_t sent = atoll(due);
        if (atol(key + 4) < loop->healthy && sent >= loop->counts_from)
                loop->latencies[loop->measured++] = (uint32_t)((now - sent) / 1000);
}

/* Assigns all partitions from the beginning. */
static void assign_all(rd_kafka_t *consumer, const char *name) {
        const struct rd_kafka_metadata *metadata;
        rd_kafka_topic_t *topic = rd_kafka_topic_new(consumer, name, NULL);
        check(rd_kafka_metadata(consumer, 0, topic, &metadata, 30000), "metadata");
        rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(8);
        for (int32_t partition = 0; partition < metadata->topics[0].partition_cnt; partition++)
                rd_kafka_topic_partition_list_add(list, name, partition)->offset = RD_KAFKA_OFFSET_BEGINNING;
        check(rd_kafka_assign(consumer, list), "assign");
        rd_kafka_topic_partition_list_destroy(list);
        rd_kafka_metadata_destroy(metadata);
        rd_kafka_topic_destroy(topic);
}

static void *receive(void *argument) {
        struct loop *loop = argument;
        rd_kafka_t *consumer = client(RD_KAFKA_CONSUMER, conf_of(loop->brokers, loop->settings));
        rd_kafka_poll_set_consumer(consumer);
        assign_all(consumer, loop->to);
        double last = seconds();
        for (long read = 0; read < loop->records;) {
                rd_kafka_message_t *message = rd_kafka_consumer_poll(consumer, 100);
                if (!message) {
                        if (seconds() - last > PATIENCE)
                                die("%ld of %ld records came out", read, loop->records);
                        continue;
                }
                check(message->err, "consume");
                note(loop, message, nanoseconds());
                rd_kafka_message_destroy(message);
                last = seconds();
                read++;
        }
        rd_kafka_consumer_close(consumer);
        rd_kafka_destroy(consumer);
        return NULL;
}

static void send_one(rd_kafka_t *producer, rd_kafka_topic_t *topic, int64_t due, long key_number) {
        char value[VALUE_BYTES + 1], key[16];
        int size = snprintf(value, sizeof(value), "%020" PRId64 " ", due);
        memset(value + size, 'x', (size_t)(VALUE_BYTES - size));
        snprintf(key, sizeof(key), "key-%04ld", key_number);
        if (rd_kafka_produce(topic, RD_KAFKA_PARTITION_UA, RD_KAFKA_MSG_F_COPY, value, VALUE_BYTES, key, 8, NULL) != 0)
                check(rd_kafka_last_error(), "produce");
}

static void send_paced(struct loop *loop, rd_kafka_t *producer, const char *from, int64_t start, double rate) {
        rd_kafka_topic_t *topic = rd_kafka_topic_new(producer, from, NULL);
        uint64_t state = 88172645463325252ull;
        for (long sent = 0; sent < loop->records;) {
                double passed = (double)(nanoseconds() - start) * 1e-9;
                long due = passed <= 0 ? 0 : (long)(passed * rate);
                for (; sent < due && sent < loop->records; sent++) {
                        state ^= state << 13;
                        state ^= state >> 7;
                        state ^= state << 17;
                        send_one(producer, topic, start + (int64_t)((double)sent / rate * 1e9), (long)(state % KEYS));
                }
                rd_kafka_poll(producer, 0);
                /* The loop's step: what comes due meanwhile goes out together, and counts from when it was due. */
                nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL);
        }
        check(rd_kafka_flush(producer, 60000), "flush");
        rd_kafka_topic_destroy(topic);
}

static int ascending(const void *a, const void *b) {
        uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
        return (left > right) - (left < right);
}

int main(int argc, char **argv) {
        if (argc != 10)
                die("usage: latency BROKERS CONSUMER_SETTINGS PRODUCER_SETTINGS FROM TO RATE SECONDS WARMUP HEALTHY");
        double rate = atof(argv[6]);
        struct loop loop = {.brokers = argv[1],
                            .settings = argv[2],
                            .to = argv[5],
                            .records = (long)(rate * atof(argv[7])),
                            .healthy = atol(argv[9])};
        loop.latencies = calloc((size_t)loop.records, sizeof(*loop.latencies));
        rd_kafka_conf_t *conf = conf_of(argv[1], argv[3]);
        rd_kafka_conf_set_dr_msg_cb(conf, delivered);
        rd_kafka_t *producer = client(RD_KAFKA_PRODUCER, conf);
        /* A second for both clients to connect. */
        int64_t start = nanoseconds() + 1000000000;
        loop.counts_from = start + (int64_t)(atof(argv[8]) * 1e9);
        pthread_t receiver;
        if (pthread_create(&receiver, NULL, receive, &loop) != 0)
                die("no thread");
        send_paced(&loop, producer, argv[4], start, rate);
        pthread_join(receiver, NULL);
        rd_kafka_destroy(producer);
        if (loop.measured == 0)
                die("no record was measured");
        qsort(loop.latencies, (size_t)loop.measured, sizeof(*loop.latencies), ascending);
        printf("%ld %u %u %u\n", loop.measured, loop.latencies[loop.measured / 2],
               loop.latencies[loop.measured * 99 / 100], loop.latencies[loop.measured - 1]);
        free(loop.latencies);
        return 0;
}
