// A row's best words so far, and how words of the short-list or of a cluster are added to them. What that
// reads, and why it is little, stands in candidates.cpp.
#pragma once

#include "bound.h"
#include "topk.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace headfirst {

constexpr double NONE = -std::numeric_limits<double>::infinity();
constexpr float LOW = -std::numeric_limits<float>::infinity();

struct Candidate {
    double score;
    int64_t id;
    float slack;  // its score is off by no more; 0: as it decides
    int part;     // its cluster, or -1: the short-list
    double least() const { return score - slack; }
    double most() const { return score + slack; }
    bool operator<(const Candidate& other) const {
        return score != other.score ? score > other.score : id < other.id;
    }
};

struct Row {
    const Model* model;
    const float* hidden;
    int index;  // in the call
    int64_t k;
    const int64_t *allowed, *allowed_end;  // null: every word
    double log_z;
    Mass mass;
    double kth = NONE;                    // the k-th best score is at least this
    std::vector<Candidate> best;          // all that may be among the k best of the words so far
    bool screened = false;                // 8 bits have lowered the bounds of the clusters that competed
    std::vector<float> clusters;          // no word's score is above; -inf: opened, or no word to answer
    std::vector<double> base, cluster_z;  // a cluster each, once opened: its own logit, its log Z
    std::vector<double> projected_norm;   // a band each, negative: not projected yet
    std::vector<std::vector<float>> projected;

    void add(const Candidate& word) {
        best.push_back(word);
        if (best.size() >= (size_t)(k + std::max<int64_t>(16, k / 4))) prune();
    }
    // Raise `kth` to what the words so far prove, and drop those that it rules out.
    void prune();
    // Score all exactly; the k best of them remain.
    void settle();
};

// The logits of one part (short-list or cluster) for one row, and what they are known to.
struct View {
    const Part& part;
    const Level& level;
    const float* input;       // the row as this part sees it
    float* stored;            // its logits, or null: made again where needed
    const float *high, *low;  // a group each; low null: high less the slack
    double slack;             // of each logit, if exact
    float norm, code_norm;    // of the row, for the slack of screened logits
    const Screen* screen;     // null: exact
    double base, log_z;       // score = base + min(0, z - log_z); the short-list: base + z
    int index;                // of the cluster, or -1

    double slack_of(int w) const {
        return screen ? (double)norm * screen->residual[w] + (double)code_norm * screen->norm[w] : slack;
    }
    const float* group(int g, float* scratch) const {
        if (stored) return stored + (size_t)g * GROUP;
        const Matrix& m = part.matrix;
        level.logits(m, g * PANELS, std::min(PANELS, m.panels - g * PANELS), input, 1, scratch, GROUP);
        for (auto w = std::lower_bound(part.excluded.begin(), part.excluded.end(), g * GROUP);
             w != part.excluded.end() && *w < (g + 1) * GROUP; ++w)
            scratch[*w - g * GROUP] = LOW;
        return scratch;
    }
    double exact(int w) const { return exact_logit(level, part.matrix, input, w); }
    double score(double z) const { return std::isnan(log_z) ? base + z : base + std::min(0.0, z - log_z); }
};

// Never answer the excluded words: their logits become -inf, after the normalizer has been made.
void mask(const View& view, float* high, float* low);

// Add every word of the part that may be among the row's k best.
void collect(Row& row, const View& view);

}  // namespace headfirst
