#define _GNU_SOURCE
#include "wire.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

enum header { VIA, FROM, TO, CALL_ID, CSEQ, CONTACT, SUBSCRIPTION_STATE, SIP_ETAG, CONTENT_LENGTH, OTHER };

static const struct {
    const char *name;
    size_t length;
    char compact; /* RFC 3261 section 7.3.3 */
} HEADERS[OTHER] = {
    [VIA] = {"Via", 3, 'v'},
    [FROM] = {"From", 4, 'f'},
    [TO] = {"To", 2, 't'},
    [CALL_ID] = {"Call-ID", 7, 'i'},
    [CSEQ] = {"CSeq", 4, 0},
    [CONTACT] = {"Contact", 7, 'm'},
    [SUBSCRIPTION_STATE] = {"Subscription-State", 18, 0},
    [SIP_ETAG] = {"SIP-ETag", 8, 0},
    [CONTENT_LENGTH] = {"Content-Length", 14, 'l'},
};

static enum header header_named(const char *name, size_t length)
{
    for (int header = 0; header < OTHER; header++) {
        if (length == 1 && HEADERS[header].compact && (name[0] | 0x20) == HEADERS[header].compact)
            return header;
        if (length == HEADERS[header].length && !strncasecmp(name, HEADERS[header].name, length))
            return header;
    }
    return OTHER;
}

static struct text trimmed(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\t'))
        at++;
    while (end > at && (end[-1] == ' ' || end[-1] == '\t' || end[-1] == '\r' || end[-1] == '\n'))
        end--;
    return (struct text){at, end - at};
}

/* Take in one header line, `end` being behind its line end. */
static void read_header(struct message *message, const char *line, const char *end)
{
    const char *colon = memchr(line, ':', end - line);
    if (!colon)
        return;
    struct text name = trimmed(line, colon), value = trimmed(colon + 1, end);
    enum header header = header_named(name.at, name.length);
    if (header <= CSEQ && message->echoed_count < MAX_ECHOED)
        message->echoed[message->echoed_count++] = (struct text){line, end - line};
    switch (header) {
    case TO: message->to = value; break;
    case CALL_ID: message->call_id = value; break;
    case CSEQ: message->cseq = (uint32_t)wire_number(value); break;
    case CONTACT: message->contact = value; break;
    case SUBSCRIPTION_STATE: message->subscription_state = value; break;
    case SIP_ETAG: message->etag = value; break;
    default: break;
    }
}

static bool read_start_line(struct message *message, const char *line, size_t length)
{
    if (length > 12 && !memcmp(line, "SIP/2.0 ", 8)) {
        message->status = (int)wire_number((struct text){line + 8, length - 8});
        return message->status >= 100 && message->status < 700;
    }
    message->notify = length > 7 && !memcmp(line, "NOTIFY ", 7);
    return memmem(line, length, " SIP/2.0", 8) != NULL;
}

bool wire_parse(struct message *message, const char *data, size_t length)
{
    const char *end = data + length, *line = data;
    memset(message, 0, sizeof *message);
    const char *line_end = memchr(line, '\n', length);
    if (!line_end || !read_start_line(message, line, line_end - line))
        return false;
    for (line = line_end + 1; line < end && *line != '\r' && *line != '\n'; line = line_end + 1) {
        line_end = memchr(line, '\n', end - line);
        if (!line_end)
            return false;
        read_header(message, line, line_end + 1);
    }
    const char *body = line < end ? memchr(line, '\n', end - line) : NULL;
    if (body)
        message->body = (struct text){body + 1, end - body - 1};
    return message->call_id.length && message->cseq;
}

long wire_frame(const char *data, size_t length)
{
    const char *end = memmem(data, length, "\r\n\r\n", 4);
    if (!end)
        return length < MAX_MESSAGE ? 0 : -1;
    int64_t body = 0;
    for (const char *line = data, *next; line < end; line = next) {
        next = (const char *)memchr(line, '\n', end + 2 - line) + 1;
        const char *colon = memchr(line, ':', next - line);
        if (colon && header_named(line, trimmed(line, colon).length) == CONTENT_LENGTH)
            body = wire_number(trimmed(colon + 1, next));
    }
    size_t head = end + 4 - data;
    if (body < 0 || body > MAX_MESSAGE || head + (size_t)body > MAX_MESSAGE)
        return -1;
    return head + (size_t)body <= length ? (long)(head + (size_t)body) : 0;
}

size_t wire_write_ok(char *out, size_t size, const struct message *request)
{
    static const char START[] = "SIP/2.0 200 OK\r\n", END[] = "Content-Length: 0\r\n\r\n";
    size_t length = sizeof START - 1;
    if (size < length + sizeof END)
        return 0;
    memcpy(out, START, length);
    for (int line = 0; line < request->echoed_count; line++) {
        struct text echoed = request->echoed[line];
        if (length + echoed.length + sizeof END > size)
            return 0;
        memcpy(out + length, echoed.at, echoed.length);
        length += echoed.length;
    }
    memcpy(out + length, END, sizeof END - 1);
    return length + sizeof END - 1;
}

struct text wire_after(struct text text, const char *name)
{
    size_t length = strlen(name);
    const char *found = text.length ? memmem(text.at, text.length, name, length) : NULL;
    if (!found)
        return (struct text){NULL, 0};
    return (struct text){found + length, text.at + text.length - found - length};
}

int64_t wire_number(struct text text)
{
    int64_t number = 0;
    size_t digits = 0;
    while (digits < text.length && digits < 10 && text.at[digits] >= '0' && text.at[digits] <= '9')
        number = number * 10 + (text.at[digits++] - '0');
    return digits ? number : -1;
}

struct text wire_until(struct text text, const char *stops)
{
    size_t length = 0;
    while (length < text.length && !strchr(stops, text.at[length]))
        length++;
    return (struct text){text.at, length};
}

bool wire_copy(char *out, size_t size, struct text text)
{
    bool fits = text.length < size;
    size_t length = fits ? text.length : 0;
    if (length)
        memcpy(out, text.at, length);
    out[length] = 0;
    return fits;
}
