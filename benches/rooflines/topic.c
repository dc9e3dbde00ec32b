/* Makes, fills, reads back and removes topics for the benchmarks, with nothing of ours.
 *
 *     topic create BROKERS TOPIC PARTITIONS [NAME=VALUE]
 *     topic delete BROKERS TOPIC...
 *     topic fill BROKERS PRODUCER_SETTINGS TOPIC COUNT KIND KEYS
 *         KIND: bytes:N, json, or json:N, of which each N-th is cut short; KEYS: random or turn, 1,000 of them, or as many as stand behind a colon (random:1000000);
 *         prints "COUNT BYTES SUM"
 *     topic sum BROKERS TOPIC [FIELD]                            prints "COUNT BYTES SUM"
 *     topic sources BROKERS TOPIC FROM_MS UNTIL_MS
 *         of a topic that a worker writes: prints "COUNT DISTINCT", by the header longshore.source, and by partition of the input the
 *         longest time between FROM_MS and UNTIL_MS (since 1970, by the records' timestamps) in which none came, in milliseconds
 *     topic committed BROKERS GROUP TOPIC PARTITIONS             prints "COMMITTED END", each the sum of all partitions
 *
 * SUM is the sum, modulo 2^64, of a hash of each value (FNV-1a), so it does not depend on the order; with FIELD it is the
 * sum of the whole numbers in "FIELD":N. */
#include "common.h"

#define KEYS 1000

static uint64_t state = 88172645463325252ull;

/* xorshift64: the same records in every run. */
static uint64_t next_random(void) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        return state;
}

static uint64_t hash(const unsigned char *bytes, size_t length) {
        uint64_t value = 14695981039346656037ull;
        for (size_t i = 0; i < length; i++)
                value = (value ^ bytes[i]) * 1099511628211ull;
        return value;
}

static const char *const WORDS[] = {
    "request", "timeout", "worker",  "checkout", "payment", "accepted", "upstream", "in",       "at",    "user",   "cache",
    "miss",    "retry",   "session", "basket",   "GET",     "POST",     "/api/v1",  "/items",   "200",   "503",    "after",
    "connect", "closed",  "by",      "peer",     "pool",    "exhausted", "slow",    "query",    "took",  "ms",     "commit",
    "segment", "flushed", "rows",    "for",      "tenant",  "region",   "eu-west",  "us-east",  "queue", "depth",  "drained",
    "leader",  "elected", "replica", "lagging",  "behind",  "offset",   "fetch",    "from",     "disk",  "latency", "p99",
    "warning", "resumed", "paused",  "order",    "shipped", "invoice",  "created",  "customer", "update"};

/* Fills with words and numbers, so that the codec has about as much to do as with log text. */
static void words(char *into, size_t length) {
        size_t at = 0;
        while (at < length) {
                uint64_t random = next_random();
                char word[32];
                int size = random % 5 == 0 ? snprintf(word, sizeof(word), "%" PRIu64 " ", random >> 40)
                                           : snprintf(word, sizeof(word), "%s ", WORDS[(random >> 8) % 64]);
                size_t fits = (size_t)size < length - at ? (size_t)size : length - at;
                memcpy(into + at, word, fits);
                at += fits;
        }
}

/* A log record of about 300 bytes; the odd ones are of a level that the filter drops. */
static size_t json(char *into, size_t room, long number) {
        char message[129];
        words(message, sizeof(message) - 1);
        message[sizeof(message) - 1] = '\0';
        int size = snprintf(
            into, room,
            "{\"timestamp\":\"2026-01-31T12:%02ld:%02ld.%03ldZ\",\"level\":\"%s\",\"message\":\"%s\",\"app\":\"shop-%ld\","
            "\"host\":\"web-%02ld\",\"seq\":%ld,\"status\":%d,\"duration_ms\":%.1f,\"user\":{\"id\":%ld,\"country\":\"de\"}}",
            number / 60000 % 60, number / 1000 % 60, number % 1000, number % 2 ? "debug" : "info", message,
            number % 7, number % 50, number, number % 90 ? 200 : 503, (double)(number % 5000) / 10, number % 99991);
        return (size_t)size;
}

static void delivered(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque) {
        (void)rk;
        check(message->err, "delivery");
        ++*(long *)opaque;
}

static void fill(const char *brokers, const char *settings, const char *name, long count, const char *kind,
                 const char *order) {
        int in_turn = strncmp(order, "turn", 4) == 0;
        const char *told = strchr(order, ':');
        long keys = told ? atol(told + 1) : KEYS;
        long cut_each = strncmp(kind, "json:", 5) == 0 ? atol(kind + 5) : 0;
        static char value[1 << 20];
        long confirmed = 0;
        uint64_t bytes = 0, sum = 0;
        size_t length = strncmp(kind, "bytes:", 6) == 0 ? (size_t)atol(kind + 6) : 0;
        rd_kafka_conf_t *conf = conf_of(brokers, settings);
        rd_kafka_conf_set_dr_msg_cb(conf, delivered);
        rd_kafka_conf_set_opaque(conf, &confirmed);
        rd_kafka_t *producer = client(RD_KAFKA_PRODUCER, conf);
        rd_kafka_topic_t *topic = rd_kafka_topic_new(producer, name, NULL);
        for (long number = 0; number < count; number++) {
                char key[32];
                long chosen = in_turn ? number % keys : (long)(next_random() % (uint64_t)keys);
                int key_size = snprintf(key, sizeof(key), "key-%04ld", chosen);
                size_t size = length;
                if (length == 0)
                        size = json(value, sizeof(value), number) / (cut_each && number % cut_each == 1 ? 2 : 1);
                else
                        words(value, size);
                while (rd_kafka_produce(topic, RD_KAFKA_PARTITION_UA, RD_KAFKA_MSG_F_COPY, value, size, key,
                                        (size_t)key_size, NULL) != 0) {
                        if (rd_kafka_last_error() != RD_KAFKA_RESP_ERR__QUEUE_FULL)
                                check(rd_kafka_last_error(), "produce");
                        rd_kafka_poll(producer, 10);
                }
                if (number % 1000 == 0)
                        rd_kafka_poll(producer, 0);
                bytes += size;
                sum += hash((unsigned char *)value, size);
        }
        check(rd_kafka_flush(producer, 120000), "flush");
        if (confirmed != count)
                die("%ld of %ld records confirmed", confirmed, count);
        printf("%ld %" PRIu64 " %" PRIu64 "\n", count, bytes, sum);
        rd_kafka_topic_destroy(topic);
        rd_kafka_destroy(producer);
}

/* The whole number behind "FIELD": in a JSON text. */
static uint64_t number_of(const char *value, size_t length, const char *field) {
        char pattern[128];
        int size = snprintf(pattern, sizeof(pattern), "\"%s\":", field);
        const char *found = memmem(value, length, pattern, (size_t)size);
        uint64_t number = 0;
        if (!found)
                die("a record has no field %s", field);
        for (const char *at = found + size; at < value + length && *at >= '0' && *at <= '9'; at++)
                number = number * 10 + (uint64_t)(*at - '0');
        return number;
}

/* Assigns all partitions from the beginning; returns how many hold records. */
static int assign_all(rd_kafka_t *consumer, const char *name) {
        const struct rd_kafka_metadata *metadata;
        rd_kafka_topic_t *topic = rd_kafka_topic_new(consumer, name, NULL);
        check(rd_kafka_metadata(consumer, 0, topic, &metadata, 30000), "metadata");
        rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(8);
        for (int32_t partition = 0; partition < metadata->topics[0].partition_cnt; partition++) {
                int64_t low, high;
                check(rd_kafka_query_watermark_offsets(consumer, name, partition, &low, &high, 30000), "watermarks");
                if (high > low)
                        rd_kafka_topic_partition_list_add(list, name, partition)->offset = low;
        }
        int count = list->cnt;
        check(rd_kafka_assign(consumer, list), "assign");
        rd_kafka_topic_partition_list_destroy(list);
        rd_kafka_metadata_destroy(metadata);
        rd_kafka_topic_destroy(topic);
        return count;
}

/* Gives each record that a topic holds to a function. */
static void read_all(const char *brokers, const char *name, void (*take)(void *, const rd_kafka_message_t *), void *into) {
        rd_kafka_conf_t *conf = conf_of(brokers, "group.id=bench-sum,enable.auto.commit=false,enable.partition.eof=true,"
                                                 "check.crcs=true,fetch.queue.backoff.ms=50");
        rd_kafka_t *consumer = client(RD_KAFKA_CONSUMER, conf);
        rd_kafka_poll_set_consumer(consumer);
        int left = assign_all(consumer, name);
        while (left > 0) {
                rd_kafka_message_t *message = rd_kafka_consumer_poll(consumer, 1000);
                if (!message)
                        continue;
                if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
                        left--;
                } else {
                        check(message->err, "consume");
                        take(into, message);
                }
                rd_kafka_message_destroy(message);
        }
        rd_kafka_consumer_close(consumer);
        rd_kafka_destroy(consumer);
}

struct sums {
        const char *field;
        uint64_t count, bytes, total;
};

static void add(void *into, const rd_kafka_message_t *message) {
        struct sums *sums = into;
        sums->count++;
        sums->bytes += message->len;
        sums->total += sums->field ? number_of(message->payload, message->len, sums->field)
                                   : hash(message->payload, message->len);
}

static void sum(const char *brokers, const char *name, const char *field) {
        struct sums sums = {.field = field};
        read_all(brokers, name, add, &sums);
        printf("%" PRIu64 " %" PRIu64 " %" PRIu64 "\n", sums.count, sums.bytes, sums.total);
}

#define PARTITIONS_MAX 64
#define OFFSETS_MAX (1 << 22)

struct sources {
        uint64_t count, distinct;
        unsigned char *seen[PARTITIONS_MAX]; /* a bit for each offset */
        /* Of what came in the window, by partition; records of one partition may lie in several of the output. */
        int64_t *stamps[PARTITIONS_MAX];
        size_t stamped[PARTITIONS_MAX], room[PARTITIONS_MAX];
        int64_t from, until;
};

/* The partition and the offset in "TOPIC/PARTITION/OFFSET/CHILD"; names of topics have no slash. */
static void source_of(const rd_kafka_message_t *message, long *partition, long *offset) {
        rd_kafka_headers_t *headers;
        const void *text;
        size_t size;
        char source[512];
        check(rd_kafka_message_headers(message, &headers), "headers");
        check(rd_kafka_header_get_last(headers, "longshore.source", &text, &size), "longshore.source");
        if (size >= sizeof(source))
                die("a source of %zu bytes", size);
        memcpy(source, text, size);
        source[size] = '\0';
        const char *slash = strchr(source, '/');
        if (!slash || sscanf(slash, "/%ld/%ld/", partition, offset) != 2 || *partition < 0 || *partition >= PARTITIONS_MAX ||
            *offset < 0 || *offset >= OFFSETS_MAX)
                die("no source: %s", source);
}

static void note_source(void *into, const rd_kafka_message_t *message) {
        struct sources *sources = into;
        long partition, offset;
        source_of(message, &partition, &offset);
        if (!sources->seen[partition])
                sources->seen[partition] = calloc(OFFSETS_MAX / 8, 1);
        unsigned char *byte = &sources->seen[partition][offset / 8], bit = (unsigned char)(1 << offset % 8);
        sources->count++;
        sources->distinct += !(*byte & bit);
        *byte |= bit;
        int64_t stamp = rd_kafka_message_timestamp(message, NULL);
        if (stamp < sources->from || stamp > sources->until)
                return;
        if (sources->stamped[partition] == sources->room[partition]) {
                sources->room[partition] = sources->room[partition] ? 2 * sources->room[partition] : 1024;
                sources->stamps[partition] =
                    realloc(sources->stamps[partition], sources->room[partition] * sizeof(int64_t));
        }
        sources->stamps[partition][sources->stamped[partition]++] = stamp;
}

static int ascending(const void *a, const void *b) {
        int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
        return (left > right) - (left < right);
}

static int64_t longest_silence(const struct sources *sources, int partition) {
        int64_t last = sources->from, longest = 0;
        size_t count = sources->stamped[partition];
        if (count > 0)
                qsort(sources->stamps[partition], count, sizeof(int64_t), ascending);
        for (size_t i = 0; i <= count; i++) {
                int64_t next = i < count ? sources->stamps[partition][i] : sources->until;
                longest = next - last > longest ? next - last : longest;
                last = next;
        }
        return longest;
}

static void sources(const char *brokers, const char *name, int64_t from, int64_t until) {
        static struct sources sources;
        sources.from = from;
        sources.until = until;
        read_all(brokers, name, note_source, &sources);
        printf("%" PRIu64 " %" PRIu64, sources.count, sources.distinct);
        for (int partition = 0; partition < PARTITIONS_MAX && sources.seen[partition]; partition++)
                printf(" %" PRId64, longest_silence(&sources, partition));
        putchar('\n');
}

static void committed(const char *brokers, const char *group, const char *name, int32_t partitions) {
        rd_kafka_conf_t *conf = conf_of(brokers, "");
        set(conf, "group.id", group);
        rd_kafka_t *consumer = client(RD_KAFKA_CONSUMER, conf);
        rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(partitions);
        rd_kafka_topic_partition_list_add_range(list, name, 0, partitions - 1);
        check(rd_kafka_committed(consumer, list, 30000), "committed");
        int64_t sum_committed = 0, sum_end = 0;
        for (int i = 0; i < list->cnt; i++) {
                int64_t low, high;
                check(rd_kafka_query_watermark_offsets(consumer, name, i, &low, &high, 30000), "watermarks");
                sum_committed += list->elems[i].offset > 0 ? list->elems[i].offset : 0;
                sum_end += high;
        }
        printf("%" PRId64 " %" PRId64 "\n", sum_committed, sum_end);
        rd_kafka_topic_partition_list_destroy(list);
        rd_kafka_destroy(consumer);
}

/* Waits for the one answer to an admin request. */
static void expect_answer(rd_kafka_queue_t *queue, const char *what) {
        rd_kafka_event_t *event = rd_kafka_queue_poll(queue, 60000);
        if (!event)
                die("%s: no answer", what);
        check(rd_kafka_event_error(event), what);
        size_t count = 0;
        const rd_kafka_topic_result_t **results = NULL;
        if (rd_kafka_event_CreateTopics_result(event))
                results = rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event), &count);
        else if (rd_kafka_event_DeleteTopics_result(event))
                results = rd_kafka_DeleteTopics_result_topics(rd_kafka_event_DeleteTopics_result(event), &count);
        for (size_t i = 0; i < count; i++)
                check(rd_kafka_topic_result_error(results[i]), rd_kafka_topic_result_name(results[i]));
        rd_kafka_event_destroy(event);
}

static void create(const char *brokers, const char *name, int partitions, char *setting) {
        char error[512];
        rd_kafka_t *admin = client(RD_KAFKA_PRODUCER, conf_of(brokers, ""));
        rd_kafka_queue_t *queue = rd_kafka_queue_new(admin);
        rd_kafka_NewTopic_t *topic = rd_kafka_NewTopic_new(name, partitions, 1, error, sizeof(error));
        if (!topic)
                die("%s", error);
        if (setting) {
                char *value = strchr(setting, '=');
                if (!value)
                        die("no value in %s", setting);
                *value = '\0';
                check(rd_kafka_NewTopic_set_config(topic, setting, value + 1), setting);
        }
        rd_kafka_CreateTopics(admin, &topic, 1, NULL, queue);
        expect_answer(queue, "create");
        rd_kafka_NewTopic_destroy(topic);
        rd_kafka_queue_destroy(queue);
        rd_kafka_destroy(admin);
}

static void delete(const char *brokers, char **names, int count) {
        rd_kafka_t *admin = client(RD_KAFKA_PRODUCER, conf_of(brokers, ""));
        rd_kafka_queue_t *queue = rd_kafka_queue_new(admin);
        for (int i = 0; i < count; i++) {
                rd_kafka_DeleteTopic_t *topic = rd_kafka_DeleteTopic_new(names[i]);
                rd_kafka_DeleteTopics(admin, &topic, 1, NULL, queue);
                expect_answer(queue, "delete");
                rd_kafka_DeleteTopic_destroy(topic);
        }
        rd_kafka_queue_destroy(queue);
        rd_kafka_destroy(admin);
}

int main(int argc, char **argv) {
        const char *command = argc > 2 ? argv[1] : "";
        if (strcmp(command, "create") == 0 && (argc == 5 || argc == 6))
                create(argv[2], argv[3], atoi(argv[4]), argc == 6 ? argv[5] : NULL);
        else if (strcmp(command, "delete") == 0 && argc > 3)
                delete(argv[2], argv + 3, argc - 3);
        else if (strcmp(command, "fill") == 0 && argc == 8)
                fill(argv[2], argv[3], argv[4], atol(argv[5]), argv[6], argv[7]);
        else if (strcmp(command, "sum") == 0 && (argc == 4 || argc == 5))
                sum(argv[2], argv[3], argc == 5 ? argv[4] : NULL);
        else if (strcmp(command, "sources") == 0 && argc == 6)
                sources(argv[2], argv[3], atoll(argv[4]), atoll(argv[5]));
        else if (strcmp(command, "committed") == 0 && argc == 6)
                committed(argv[2], argv[3], argv[4], atoi(argv[5]));
        else
                die("usage: topic create|delete|fill|sum|sources|committed BROKERS ...");
        return 0;
}
