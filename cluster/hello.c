/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Hello and goodbye: layouts in hello.h. */
#include "hello.h"

#include "codec.h"
#include "error.h"

#define FIXED_BYTES 84u

void vv_hello_encode(const VvHello *hello, GByteArray *out)
{
    guint start = out->len;

    vv_write_u16(out, hello->version_min);
    vv_write_u16(out, hello->version_max);
    vv_write_u64(out, hello->features_required);
    vv_write_u64(out, hello->features_offered);
    vv_write_bytes(out, hello->pool.bytes, sizeof hello->pool.bytes);
    vv_write_u64(out, hello->node);
    vv_write_u64(out, hello->to);
    vv_write_u64(out, hello->instance);
    vv_write_u64(out, hello->dial);
    vv_write_u8(out, (uint8_t) hello->purpose);
    vv_write_u8(out, hello->channel);
    vv_write_u8(out, hello->channels);
    vv_write_u8(out, 0);
    vv_write_u32(out, hello->requests_max);
    vv_write_u32(out, hello->body_max);
    vv_write_u32(out, hello->data_max);
    g_assert(out->len - start == FIXED_BYTES);
    vv_write_string(out, hello->name);
    vv_write_string(out, hello->software);
    g_assert(out->len - start <= VV_HELLO_BYTES_MAX);
}

/* Printable ASCII of at most @max_bytes into @ret_text, which has room for one more. */
static bool read_text(VvReader *in, size_t max_bytes, char *ret_text)
{
    g_autofree char *text = vv_read_string(in, max_bytes);

    if (!text)
        return false;
    for (const char *c = text; *c; c++)
        if (!g_ascii_isprint(*c))
            return false;
    g_strlcpy(ret_text, text, max_bytes + 1);
    return true;
}

static const char *find_fault(const VvHello *hello, uint8_t zero)
{
    bool control = hello->purpose == VV_PURPOSE_CONTROL, data = hello->purpose == VV_PURPOSE_DATA;

    if (hello->version_min == 0 || hello->version_min > hello->version_max)
        return "its versions are not a range";
    if ((hello->features_required & ~hello->features_offered) != 0)
        return "it requires features that it cannot do";
    if (hello->node == 0 || hello->instance == 0)
        return "it does not say who speaks";
    if (!control && !data)
        return "its purpose is unknown";
    if (hello->channels == 0 || hello->channels > VV_CHANNELS_MAX)
        return "its number of channels is out of range";
    if ((control && hello->channel != 0) || (data && (hello->channel == 0 || hello->channel > VV_CHANNELS_MAX)))
        return "its channel is out of range";
    if (hello->requests_max == 0)
        return "it takes no requests";
    if (zero != 0)
        return "a byte that must be zero is not";
    return NULL;
}

bool vv_hello_decode(const uint8_t *bytes, size_t length_bytes, VvHello *ret_hello, GError **error)
{
    VvReader in = vv_reader(bytes, length_bytes);
    VvHello hello = { 0 };
    const uint8_t *pool;
    const char *fault = NULL;
    uint8_t zero;

    hello.version_min = vv_read_u16(&in);
    hello.version_max = vv_read_u16(&in);
    hello.features_required = vv_read_u64(&in);
    hello.features_offered = vv_read_u64(&in);
    pool = vv_read_bytes(&in, sizeof hello.pool.bytes);
    if (pool)
        memcpy(hello.pool.bytes, pool, sizeof hello.pool.bytes);
    hello.node = vv_read_u64(&in);
    hello.to = vv_read_u64(&in);
    hello.instance = vv_read_u64(&in);
    hello.dial = vv_read_u64(&in);
    hello.purpose = (VvPurpose) vv_read_u8(&in);
    hello.channel = vv_read_u8(&in);
    hello.channels = vv_read_u8(&in);
    zero = vv_read_u8(&in);
    hello.requests_max = vv_read_u32(&in);
    hello.body_max = vv_read_u32(&in);
    hello.data_max = vv_read_u32(&in);
    if (!read_text(&in, VV_NAME_BYTES_MAX, hello.name) || !read_text(&in, VV_SOFTWARE_BYTES_MAX, hello.software))
        in.bad = true;
    while (!in.bad && vv_reader_left(&in) > 0) {
        vv_read_u16(&in);
        vv_read_bytes(&in, vv_read_u16(&in));
    }
    if (in.bad || length_bytes > VV_HELLO_BYTES_MAX)
        fault = "its length is wrong, or a text in it is";
    else
        fault = find_fault(&hello, zero);
    if (fault) {
        vv_set_error(error, VV_ERROR_DAMAGED, NULL, NULL, "a hello is not one: %s", fault);
        return false;
    }
    *ret_hello = hello;
    return true;
}

static bool check_features(const char *whose, uint64_t required, uint64_t known, GError **error)
{
    g_autoptr(GString) numbers = NULL;
    uint64_t missing = required & ~known;

    if (missing == 0)
        return true;
    numbers = g_string_new(NULL);
    for (unsigned bit = 0; bit < 64; bit++)
        if (missing & ((uint64_t) 1 << bit))
            g_string_append_printf(numbers, "%s%u", numbers->len ? ", " : "", bit);
    vv_set_error(
        error, VV_ERROR_UNSUPPORTED, NULL, "Run the same release on all nodes.", "%s feature %s", whose, numbers->str);
    return false;
}

bool vv_hello_agree(
    const VvHello *ours, const VvHello *theirs, uint16_t *ret_version, uint64_t *ret_features, GError **error)
{
    uint16_t version = MIN(ours->version_max, theirs->version_max);

    if (version < ours->version_min || version < theirs->version_min) {
        vv_set_error(error, VV_ERROR_UNSUPPORTED, NULL, "Run the same release on all nodes.",
            "no version in common: %s speaks %u to %u of the peer protocol, %s speaks %u to %u", ours->name,
            ours->version_min, ours->version_max, theirs->name, theirs->version_min, theirs->version_max);
        return false;
    }
    if (!check_features(
            "what the other requires is unknown here:", theirs->features_required, ours->features_offered, error) ||
        !check_features(
            "what is required here is unknown to the other:", ours->features_required, theirs->features_offered, error))
        return false;
    if (!vv_uuid_equal(&ours->pool, &theirs->pool)) {
        g_autofree char *mine = vv_uuid_format(&ours->pool), *other = vv_uuid_format(&theirs->pool);

        vv_set_error(error, VV_ERROR_DENIED, NULL, NULL, "another pool: here is %s, there is %s", mine, other);
        return false;
    }
    *ret_version = version;
    *ret_features = ours->features_offered & theirs->features_offered;
    return true;
}

void vv_goodbye_encode(uint16_t reason, const char *text, GByteArray *out)
{
    g_autofree char *cut = g_strndup(text, VV_REASON_BYTES_MAX);

    vv_write_u16(out, reason);
    vv_write_string(out, cut);
}

bool vv_goodbye_decode(const uint8_t *bytes, size_t length_bytes, VvGoodbye *ret_goodbye, GError **error)
{
    VvReader in = vv_reader(bytes, length_bytes);
    uint16_t reason = vv_read_u16(&in);
    g_autofree char *text = vv_read_string(&in, VV_REASON_BYTES_MAX);

    if (in.bad || !text || vv_reader_left(&in) != 0) {
        vv_set_error(error, VV_ERROR_DAMAGED, NULL, NULL, "a goodbye is not one");
        return false;
    }
    ret_goodbye->reason = reason;
    g_strlcpy(ret_goodbye->text, text, sizeof ret_goodbye->text);
    for (char *c = ret_goodbye->text; *c; c++)
        if (!g_ascii_isprint(*c))
            *c = '?';
    return true;
}
