/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Instrumented code takes its time, and is there for what it finds in few rounds: it does a share of what is done many times. */
#ifndef VV_TEST_SHARE_H
#define VV_TEST_SHARE_H

#if defined(__SANITIZE_THREAD__)
#define TEST_SHARE 16u
#elif defined(__SANITIZE_ADDRESS__)
#define TEST_SHARE 4u
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TEST_SHARE 16u
#elif __has_feature(address_sanitizer)
#define TEST_SHARE 4u
#endif
#endif
#ifndef TEST_SHARE
#define TEST_SHARE 1u
#endif

/* At least 1. */
#define TEST_SHARE_OF(count) (((count) + TEST_SHARE - 1) / TEST_SHARE)

#endif
