/* CP0: the smallest loop that reads a topic, writes every record to another, and commits what was delivered.
 *
 *     loop BROKERS CONSUMER_SETTINGS PRODUCER_SETTINGS FROM TO COUNT KEEP_EVERY
 *
 * Settings are NAME=VALUE with commas between. Every KEEP_EVERY-th record is written, the others are dropped. Prints
 * "COUNT SECONDS": from the first record read to the last offset committed. */
#include "common.h"

/* Records that are committed together. */
#define SEGMENT 10000
#define PARTITIONS_MAX 1024

struct segment {
        int waiting; /* written and not acknowledged */
        int full;
        int64_t next[PARTITIONS_MAX]; /* the offset behind the last record read, by partition; 0 when none was */
        struct segment *later;
};

static struct segment *oldest, *newest;

static void delivered(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque) {
        (void)rk;
        (void)opaque;
        check(message->err, "delivery");
        ((struct segment *)message->_private)->waiting--;
}

static void open_segment(void) {
        struct segment *segment = calloc(1, sizeof(*segment));
        if (newest) {
                memcpy(segment->next, newest->next, sizeof(segment->next));
                newest->full = 1;
                newest->later = segment;
        } else {
                oldest = segment;
        }
        newest = segment;
}

static void commit(rd_kafka_t *consumer, const struct segment *segment, const char *topic, int async) {
        rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(8);
        for (int32_t partition = 0; partition < PARTITIONS_MAX; partition++)
                if (segment->next[partition] > 0)
                        rd_kafka_topic_partition_list_add(list, topic, partition)->offset = segment->next[partition];
        if (list->cnt > 0)
                check(rd_kafka_commit(consumer, list, async), "commit");
        rd_kafka_topic_partition_list_destroy(list);
}

/* Commits the newest of the segments that are wholly acknowledged. */
static void commit_delivered(rd_kafka_t *consumer, const char *topic) {
        struct segment done;
        int any = 0;
        while (oldest->full && oldest->waiting == 0) {
                struct segment *later = oldest->later;
                done = *oldest;
                any = 1;
                free(oldest);
                oldest = later;
        }
        if (any)
                commit(consumer, &done, topic, 1);
}

static void write_record(rd_kafka_t *producer, rd_kafka_topic_t *to, const rd_kafka_message_t *message) {
        newest->waiting++;
        while (rd_kafka_produce(to, RD_KAFKA_PARTITION_UA, RD_KAFKA_MSG_F_COPY, message->payload, message->len,
                                message->key, message->key_len, newest) != 0) {
                if (rd_kafka_last_error() != RD_KAFKA_RESP_ERR__QUEUE_FULL)
                        check(rd_kafka_last_error(), "produce");
                rd_kafka_poll(producer, 10);
        }
}

int main(int argc, char **argv) {
        if (argc != 8)
                die("usage: loop BROKERS CONSUMER_SETTINGS PRODUCER_SETTINGS FROM TO COUNT KEEP_EVERY");
        const char *brokers = argv[1], *topic = argv[4];
        const long count = atol(argv[6]), keep_every = atol(argv[7]);
        rd_kafka_t *consumer = client(RD_KAFKA_CONSUMER, conf_of(brokers, argv[2]));
        rd_kafka_conf_t *conf = conf_of(brokers, argv[3]);
        rd_kafka_conf_set_dr_msg_cb(conf, delivered);
        rd_kafka_t *producer = client(RD_KAFKA_PRODUCER, conf);
        rd_kafka_topic_t *to = rd_kafka_topic_new(producer, argv[5], NULL);

        rd_kafka_poll_set_consumer(consumer);
        rd_kafka_topic_partition_list_t *topics = rd_kafka_topic_partition_list_new(1);
        rd_kafka_topic_partition_list_add(topics, topic, RD_KAFKA_PARTITION_UA);
        check(rd_kafka_subscribe(consumer, topics), "subscribe");
        rd_kafka_topic_partition_list_destroy(topics);

        open_segment();
        double started = 0;
        for (long read = 0; read < count;) {
                rd_kafka_message_t *message = rd_kafka_consumer_poll(consumer, 100);
                if (!message)
                        continue;
                check(message->err, "consume");
                if (read == 0)
                        started = seconds();
                newest->next[message->partition] = message->offset + 1;
                if (read % keep_every == 0)
                        write_record(producer, to, message);
                rd_kafka_message_destroy(message);
                read++;
                if (read % SEGMENT == 0) {
                        open_segment();
                        rd_kafka_poll(producer, 0);
                        commit_delivered(consumer, topic);
                }
        }
        check(rd_kafka_flush(producer, 60000), "flush");
        commit(consumer, newest, topic, 0);
        printf("%ld %.6f\n", count, seconds() - started);
        rd_kafka_topic_destroy(to);
        rd_kafka_destroy(producer);
        rd_kafka_consumer_close(consumer);
        rd_kafka_destroy(consumer);
        return 0;
}
