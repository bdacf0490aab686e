"""Every phrase that a page says, in both languages: a closed table.

A name in braces stands for a fact. Digits are the same in both languages, so that pages can be
held against each other.
"""

from typing import NamedTuple


class Phrase(NamedTuple):
    """The same in English and in simplified Chinese."""

    en: str
    zh: str


Phrases = dict[str, Phrase]

# The page as a whole

LANGUAGE = Phrase("English", "中文")
KICKER = Phrase("Audit report of a ledger", "账本审计报告")
TITLE = Phrase("What left {name}", "{name} 流出了什么")
TITLE_OPERATOR = Phrase("What reached {name}", "{name} 收到了什么")
LEAD_INSTITUTION = Phrase(
    "The ledger of an institution in {country}: {entries} entries from {first} to {last}.",
    "位于{country}的机构的账本：从 {first} 到 {last}，共 {entries} 条。",
)
LEAD_OPERATOR = Phrase(
    "The ledger of an operator in {country}: {entries} entries from {first} to {last}.",
    "位于{country}的运营方的账本：从 {first} 到 {last}，共 {entries} 条。",
)
CONTENTS = Phrase("Contents", "目录")
MADE = Phrase(
    "Made on {made} by the auditor's clock, with {software}.",
    "由 {software} 于 {made}（审计方时钟）生成。",
)
MADE_UNDATED = Phrase("Made with {software}, without a date.", "由 {software} 生成，未注明日期。")
ORIGINAL_SIGNED = Phrase(
    "The original is JSON with SHA-256 {sha256}, signed with a key whose SHA-256 is {signer}.",
    "原件为 JSON，其 SHA-256 为 {sha256}，由 SHA-256 为 {signer} 的密钥签名。",
)
ORIGINAL_UNSIGNED = Phrase(
    "The original is JSON with SHA-256 {sha256}. It is not signed.",
    "原件为 JSON，其 SHA-256 为 {sha256}，未签名。",
)
ORIGINAL_ONLY = Phrase(
    "This page was made from it alone and adds nothing to it.",
    "本页仅由该原件生成，没有增加任何内容。",
)
MORE = Phrase("{count} more are in the JSON.", "另有 {count} 项见 JSON。")
NOT_STATED = Phrase("not stated", "未说明")
NONE = Phrase("none", "无")
YES = Phrase("yes", "是")
NO = Phrase("no", "否")
COUNTRIES_MANY = Phrase("{count} countries", "{count} 个国家/地区")
UNNAMED = Phrase("others, added up", "其他（合计）")
COMMA = Phrase(", ", "、")
INFINITE = Phrase("infinite: no guarantee", "无穷大：没有保证")

# Columns

COUNTRY = Phrase("country", "国家/地区")
PARTY = Phrase("party", "参与方")
NAME = Phrase("name", "名称")
ROLE = Phrase("role", "角色")
AGREEMENT = Phrase("agreement", "协议")
FEDERATION = Phrase("federation", "联合体")
PURPOSE = Phrase("purpose", "目的")
TIME = Phrase("time (UTC)", "时间 (UTC)")
FIRST = Phrase("first (UTC)", "最早 (UTC)")
LAST = Phrase("last (UTC)", "最近 (UTC)")
ENTRY = Phrase("entry", "条目")
COUNT = Phrase("count", "次数")
RESULT = Phrase("result", "结果")
MESSAGES = Phrase("messages", "消息数")
BYTES = Phrase("bytes", "字节")
ROUND = Phrase("round", "轮次")
KIND = Phrase("kind", "种类")

# 1. Summary

SECTION_SUMMARY = Phrase("Summary", "摘要")
FINDINGS_NONE = Phrase("No finding", "未发现问题")
FINDINGS_NONE_WORDS = Phrase(
    "Everything that was checked holds. What was not checked stands below, and what nobody can "
    "conclude from a ledger in section 12.",
    "所有已检查的内容均成立。未检查的内容见下文，任何人都无法从账本得出的结论见第 12 节。",
)
FINDINGS_ONE = Phrase("1 finding", "发现 1 个问题")
FINDINGS_MANY = Phrase("{count} findings", "发现 {count} 个问题")
FINDINGS_WORDS = Phrase(
    "In the words of the program that verified the package:", "以下为验证程序的英文原文："
)
UNANCHORED = Phrase("UNANCHORED", "未经外部确认")
UNANCHORED_WORDS = Phrase(
    "Nobody outside the file has vouched for the keys in it. One person could have written and "
    "signed all of it. Ask an institution that you trust for the eight words of its agreement, and "
    "verify again with them.",
    "文件之外无人确认其中的密钥。全部内容可能由同一个人编写并签名。请向您信任的机构索取其协议的八"
    "个单词，并据此重新验证。",
)
TILE_SPENT = Phrase("privacy spent", "已消耗的隐私预算")
TILE_SPENT_WORDS = Phrase(
    "ε, of at most {ceiling} at δ = {delta}, for each {unit}",
    "ε，上限为 {ceiling}（δ = {delta}），按每个{unit}计",
)
TILE_SPENT_MANY = Phrase(
    "ε, of at most {ceiling} at δ = {delta}, for each {unit}; the fullest of {count} budgets",
    "ε，上限为 {ceiling}（δ = {delta}），按每个{unit}计；为 {count} 个预算中占用最多的一个",
)
UNSIGNED = Phrase(
    "Nobody signed this report. Whoever has the package can make it again.",
    "本报告未经任何人签名。持有审计包的人可以重新生成。",
)
TILE_SPENT_NONE = Phrase("no rows were registered", "未登记任何数据")
TILE_SPENT_INFINITE = Phrase(
    "something without privacy was reserved: there is no guarantee",
    "预留过不带隐私保护的机制：没有任何保证",
)
TILE_LEFT = Phrase("bytes that left", "流出的字节")
TILE_LEFT_WORDS = Phrase(
    "messages: {messages}, to {countries}; of these computed from rows: {covered}",
    "消息：{messages} 条，发往{countries}；其中由数据计算得出的：{covered} 条",
)
TILE_LEFT_NONE = Phrase("no message left", "没有消息流出")
TILE_ARRIVED = Phrase("bytes that arrived", "流入的字节")
TILE_ARRIVED_WORDS = Phrase(
    "messages: {messages}, from {countries}; of these computed from rows: {covered}",
    "消息：{messages} 条，来自{countries}；其中由数据计算得出的：{covered} 条",
)
TILE_ARRIVED_NONE = Phrase("no message arrived", "没有消息流入")
TILE_ROUNDS = Phrase("rounds joined", "参加的轮次")
TILE_ROUNDS_WORDS = Phrase(
    "released something: {released}; void: {void}",
    "有内容流出：{released}；无效：{void}",
)
TILE_OPERATED = Phrase("rounds begun", "开始的轮次")
TILE_OPERATED_WORDS = Phrase(
    "ended with a sum: {certified}; void: {void}",
    "得出总和：{certified}；无效：{void}",
)
TILE_WITNESSES = Phrase("cosigned by", "联署")
TILE_WITNESSES_WORDS = Phrase(
    "other institutions, {needed} needed; complete as of {complete} UTC",
    "家其他机构，需要 {needed} 家；截至 {complete} UTC 完整",
)
TILE_WITNESSES_UNKNOWN = Phrase(
    "other institutions, {needed} needed; complete as of an unknown time",
    "家其他机构，需要 {needed} 家；完整截止时间未知",
)
TILE_WITNESSES_BESIDE = Phrase("Not counted: {names}.", "不计入：{names}。")
TILE_WITNESSES_MANY = Phrase("Not counted: {count} others.", "不计入：另有 {count} 名。")
COSIGNER = Phrase("{name} ({role})", "{name}（{role}）")
COSIGNERS: Phrases = {
    "institution": Phrase("other institution", "其他机构"),
    "operator": Phrase("operator", "运营方"),
    "outside": Phrase("outside witness", "外部见证人"),
}
CLAIMS_CAPTION = Phrase("What was checked, and what became of it", "检查内容及其结果")
CLAIM = Phrase("statement", "陈述")
CONCLUSIONS: Phrases = {
    "holds": Phrase("holds", "成立"),
    "fails": Phrase("fails", "不成立"),
    "partly": Phrase("in part", "部分成立"),
    "open": Phrase("not checked", "未检查"),
}
CLAIMS: Phrases = {
    "whole": Phrase(
        "Every entry was signed by the ledger's owner, none is missing in between, and every "
        "agreement is as it was signed.",
        "每个条目均由账本所有者签名，中间没有缺失，每份协议都与签署时一致。",
    ),
    "witnessed": Phrase(
        "Enough other institutions have cosigned the head of the ledger.",
        "已有足够多的其他机构联署了账本头。",
    ),
    "vouched": Phrase(
        "Somebody outside the file vouches for the keys.", "文件之外有人确认其中的密钥。"
    ),
    "continues": Phrase(
        "The ledger goes on from a head that somebody kept.", "账本延续自他人保存的账本头。"
    ),
    "overseen": Phrase(
        "A witness whose key came from outside the file has seen the ledger.",
        "有密钥来自文件之外的见证人查看过账本。",
    ),
    "never-restored": Phrase(
        "The ledger was never put back to an earlier state.", "账本从未被恢复到较早的状态。"
    ),
    "covered": Phrase(
        "Whatever left is covered by the budget, once, or is of the closed list of control "
        "messages; it went to the operator of an agreement.",
        "所有流出的内容要么由预算覆盖且仅覆盖一次，要么属于控制消息的封闭清单，并且都发往协议中的运"
        "营方。",
    ),
    "budget": Phrase(
        "Everything reserved was agreed, granted, for a round that was joined, and fitted.",
        "所有预留均有协议和额度依据，对应已参加的轮次，且未超出额度。",
    ),
    "epsilon": Phrase(
        "Two programs that share no code compute every ε alike (for scores ours is a bound above "
        "the other's), and each is within its claim.",
        "两个互不共享代码的程序算出的每个 ε 都一致（评分的 ε 以我们的结果为上界），且均在所声明的"
        "范围内。",
    ),
    "epsilon-once": Phrase(
        "One program alone has computed every ε, as the second was not installed; each is within "
        "its claim.",
        "只有一个程序算出了每个 ε（未安装第二个程序）；均在所声明的范围内。",
    ),
    "tested": Phrase(
        "The machinery had passed its self-test before anything was reserved.",
        "在任何预留之前，训练机制均已通过自检。",
    ),
    "operated": Phrase(
        "What arrived was an upload or is of the closed list; rounds followed each other under "
        "agreements that had begun; no witnessed head went back.",
        "流入的内容要么是上传，要么属于封闭清单；各轮次在已开始的协议下依次进行；经见证的账本头没"
        "有回退。",
    ),
    "matched": Phrase(
        "Every message that left arrived, and no other.",
        "每条流出的消息都已到达，且没有其他消息到达。",
    ),
}
NOT_COVERED = Phrase("Not covered", "未涵盖的内容")
NOT_COVERED_WORDS = Phrase(
    "Among others, no ledger can show this. The whole list is section 12.",
    "账本尤其无法证明以下内容。完整清单见第 12 节。",
)
SUMMARY_LIMITS = ("rows", "noise", "completeness", "law")

# 2. Parties

SECTION_PARTIES = Phrase("Parties, purpose and legal basis", "参与方、目的与法律依据")
PARTIES_CAPTION = Phrase("Who is named in the agreements", "协议中列明的各方")
ROLE_OPERATOR = Phrase("operator", "运营方")
ROLE_INSTITUTION = Phrase("institution", "机构")
ROLE_OWNER = Phrase("{role}, whose ledger this is", "{role}（本账本所有者）")
AGREEMENTS_CAPTION = Phrase("Agreements", "协议")
EXPIRES = Phrase("last day", "最后一日")
SIGNED = Phrase("signed by the owner", "所有者已签署")
VOUCHED = Phrase("vouched for from outside", "外部已确认")
WORDS_CAPTION = Phrase("Words of the agreements, to compare by voice", "协议单词（供口头核对）")
WORDS = Phrase("words", "单词")
BASIS_CAPTION = Phrase("Legal basis by country", "各国家/地区的法律依据")
BASIS = Phrase("legal basis", "法律依据")
BASIS_WORDS = Phrase(
    "Agreements have no field for a legal basis, so none is stated here. Ask each party on which "
    "one it relies.",
    "协议中没有法律依据字段，故此处未予说明。请向各方询问其所依据的法律基础。",
)

# 3. Claims

SECTION_CLAIMS = Phrase("What is claimed", "声明的内容")
CLAIMS_WORDS = Phrase(
    "One card for each agreement, in the form of NIST SP 800-226. It is about everything that "
    "leaves one vault, except for what is listed as outside.",
    "每份协议一张卡片，采用 NIST SP 800-226 的形式。除列明不在范围内的内容外，涵盖一个保管库流出的"
    "全部内容。",
)
CARD = Phrase("Claim for {federation}, agreement {digest}", "{federation} 的声明，协议 {digest}")
CARD_NONE = Phrase(
    "No guarantee: this agreement promises no privacy, ε is infinite.",
    "没有保证：本协议不承诺任何隐私保护，ε 为无穷大。",
)
NO_CARDS = Phrase(
    "No agreement was signed, so nothing is claimed.", "没有签署任何协议，因此没有任何声明。"
)
CARD_VARIANT = Phrase("variant", "类型")
VARIANTS: Phrases = {
    "renyi": Phrase(
        "(ε, δ)-differential privacy, by a Rényi filter at the one order {order}",
        "(ε, δ)-差分隐私，采用单一阶数 {order} 的 Rényi 过滤器",
    ),
    "fixed-schedule": Phrase(
        "(ε, δ)-differential privacy, by the privacy loss distribution of a fixed schedule",
        "(ε, δ)-差分隐私，采用固定计划的隐私损失分布",
    ),
    "none": Phrase("none", "无"),
}
CARD_EPSILON = Phrase("ε and δ", "ε 与 δ")
CARD_EPSILON_WORDS = Phrase(
    "ε = {epsilon} at δ = {delta}, for all rounds and spare rounds together",
    "ε = {epsilon}，δ = {delta}，涵盖所有轮次与备用轮次",
)
CARD_UNIT = Phrase("unit", "保护单位")
UNITS: Phrases = {
    "record": Phrase("a record: one line of the data", "一条记录：数据中的一行"),
    "person": Phrase(
        "a person: all lines with one key, of which at most {rows} are used",
        "一个人：具有同一键的所有行，最多使用其中 {rows} 行",
    ),
}
UNIT_NAMES: Phrases = {"record": Phrase("record", "记录"), "person": Phrase("person", "人")}
CARD_ADJACENCY = Phrase("neighbours", "相邻关系")
CARD_ADJACENCY_WORDS = Phrase(
    "data sets that differ by one unit, added or removed; both directions",
    "相差一个单位（增加或移除）的数据集；两个方向均涵盖",
)
CARD_RELEASED = Phrase("what is released", "发布的内容")
CARD_RELEASED_WORDS = Phrase(
    "after each round a change of the model with noise, inside a masked sum; every intermediate "
    "model counts as published",
    "每轮之后发布带噪声的模型变化量，置于掩码求和之中；每个中间模型都视为已公开",
)
CARD_RELEASED_SCORES = Phrase(
    "after each round a change of the model with noise, inside a masked sum, and noisy scores "
    "(after rounds: {scores}); every intermediate model counts as published",
    "每轮之后发布带噪声的模型变化量，置于掩码求和之中，并发布带噪声的评分（轮次：{scores}）；每个"
    "中间模型都视为已公开",
)
CARD_MECHANISM = Phrase("mechanisms", "机制")
CARD_MECHANISM_WORDS = Phrase(
    "{name}: q\u00a0=\u00a0{q}, σ\u00a0=\u00a0{sigma}, T\u00a0=\u00a0{steps}",
    "{name}：q\u00a0=\u00a0{q}，σ\u00a0=\u00a0{sigma}，T\u00a0=\u00a0{steps}",
)
MECHANISMS: Phrases = {
    "poisson-sampled-gaussian": Phrase(
        "steps of DP-SGD, Poisson-sampled Gaussian", "DP-SGD 步骤，泊松抽样高斯机制"
    ),
    "discrete-gaussian": Phrase("noisy scores, discrete Gaussian", "带噪声的评分，离散高斯机制"),
    "non-private": Phrase("without privacy", "不带隐私保护"),
}
CARD_CLIPPING = Phrase("clipping norm", "裁剪范数")
CARD_SCHEDULE = Phrase("schedule", "计划")
CARD_SCHEDULE_WORDS = Phrase(
    "{rounds} rounds of training, {spare} spare", "{rounds} 轮训练，{spare} 轮备用"
)
CARD_TRUST = Phrase("trust model", "信任模型")
CARD_TRUST_WORDS = Phrase(
    "local to the institution: each vault adds the whole noise itself. For ε nobody else has to be "
    "trusted, neither operator nor other institutions nor the masks",
    "以机构本地为准：每个保管库自行添加全部噪声。就 ε 而言无需信任他人，包括运营方、其他机构和掩码",
)
CARD_MUST = Phrase("who must be trusted", "必须信任谁")
CARD_MUST_WORDS = Phrase(
    "the institution's own machine and software; for the budget over time one honest witness in "
    "each quorum",
    "机构自己的设备与软件；就随时间变化的预算而言，每个法定人数中须有一名诚实的见证人",
)
CARD_THEOREM = Phrase("theorems", "定理")
THEOREMS: Phrases = {
    "renyi": Phrase(
        "cost of a step: Mironov, Talwar and Zhang 2019, § 3.3; sum of costs: Mironov 2017, "
        "prop. 1; filter: Feldman and Zrnic 2021; ε from it: Canonne, Kamath and Steinke 2020, "
        "prop. 12",
        "单步代价：Mironov、Talwar 与 Zhang 2019，§ 3.3；代价之和：Mironov 2017，命题 1；"
        "过滤器：Feldman 与 Zrnic 2021；由此得出 ε：Canonne、Kamath 与 Steinke 2020，命题 12",
    ),
    "fixed-schedule": Phrase(
        "loss distributions: Koskela et al. 2020, Doroshenko et al. 2022; several agreements: "
        "Dwork and Roth 2014, thm. 3.16",
        "损失分布：Koskela 等 2020，Doroshenko 等 2022；多份协议：Dwork 与 Roth 2014，定理 3.16",
    ),
    "none": Phrase("none", "无"),
}
CARD_CHANCE = Phrase("no theorem for", "没有定理保证的部分")
CARD_CHANCE_WORDS = Phrase(
    "floating point: noise is drawn in 64 bits and rounded to a grid, which is a precaution",
    "浮点运算：噪声以 64 位生成并舍入到网格，属于预防措施",
)
CARD_OUTSIDE = Phrase("outside the claim", "声明范围之外")
CARD_OUTSIDE_WORDS = Phrase(
    "times and facts of messages; that an institution takes part; what the agreement fixed, if "
    "it was chosen by looking at rows; tuning; the same rows in other words; persons named in "
    "others' rows",
    "消息的时间与发生；机构参与这一事实；协议中若由查看数据而选定的内容；调参；以其他措辞表达的相"
    "同数据；在他人数据中被提到的人",
)

# 4. Budget

SECTION_BUDGET = Phrase("Budget over time", "预算随时间的变化")
BUDGET_WORDS = Phrase(
    "What is reserved counts as spent at once; charging it closes the reserve. The ceiling is for "
    "life.",
    "预留的部分立即视为已消耗；计入即结清预留。上限终身有效。",
)
BUDGET_NONE = Phrase(
    "No rows were registered, so there is no budget.", "未登记任何数据，因此没有预算。"
)
BUDGET_TITLE = Phrase(
    "Budget {namespace}, counted for each {unit}", "预算 {namespace}，按每个{unit}计"
)
BUDGET_CHART = Phrase(
    "ε of budget {namespace} over the entries", "预算 {namespace} 的 ε 随条目的变化"
)
BUDGET_CHART_TOLD = Phrase(
    "It ends at ε = {reserved} reserved and {charged} charged, under a ceiling of {ceiling}.",
    "最终预留 ε = {reserved}，计入 {charged}，上限为 {ceiling}。",
)
CEILING = Phrase("ceiling", "上限")
RESERVED = Phrase("reserved", "预留")
CHARGED = Phrase("charged", "计入")
GRANTS_CAPTION = Phrase("Grants of this budget", "本预算的额度")
GRANT = Phrase("grant", "额度")
GATE = Phrase("accountant", "核算方法")
GATES: Phrases = {
    "renyi": Phrase("Rényi filter, order {order}", "Rényi 过滤器，阶数 {order}"),
    "fixed-schedule": Phrase("fixed schedule", "固定计划"),
    "none": Phrase("none: without privacy", "无：不带隐私保护"),
}
GRANTED = Phrase("granted ε", "授予的 ε")
AT_DELTA = Phrase("at δ", "对应 δ")
BUDGET_TOTAL = Phrase(
    "Reserved now: ε = {reserved}, of which {charged} is charged. Ceiling: ε = {ceiling} at δ = "
    "{delta}.",
    "目前预留：ε = {reserved}，其中 {charged} 已计入。上限：ε = {ceiling}，δ = {delta}。",
)
BUDGET_INFINITE = Phrase(
    "Something without privacy was reserved here. ε is infinite for good, whatever the ceiling "
    "says.",
    "此处预留过不带隐私保护的机制。无论上限如何，ε 永久为无穷大。",
)

# 5. Runs

SECTION_RUNS = Phrase("Runs", "训练运行")
RUNS_NONE = Phrase("No round was joined.", "没有参加任何轮次。")
RUNS_CAPTION = Phrase("Rounds by agreement", "各协议的轮次")
JOINED = Phrase("joined", "参加")
VOID = Phrase("void", "无效")
OUTCOMES: Phrases = {
    "released": Phrase("released", "已流出"),
    "forfeited": Phrase("forfeited", "已作废"),
    "refunded": Phrase("refunded", "已退还"),
    "open": Phrase("open", "未结"),
    "nothing": Phrase("nothing reserved", "无预留"),
}
RUNS_WORDS = Phrase(
    "Released: something left, and its privacy is spent. Forfeited: nothing left, and it counts as "
    "spent all the same. Refunded: given back, as a signed event shows that no noise was drawn.",
    "已流出：有内容流出，相应隐私已消耗。已作废：没有内容流出，但仍视为已消耗。"
    "已退还：由签名事件证明未生成噪声，故予退还。",
)
ROUNDS_CAPTION = Phrase("Rounds under agreement {digest}", "协议 {digest} 下的轮次")
ROUND_KINDS: Phrases = {
    "training": Phrase("training", "训练"),
    "score": Phrase("score", "评分"),
}
OPERATED_CAPTION = Phrase("Rounds that the operator ran, by agreement", "运营方按协议开展的轮次")
PLANNED = Phrase("begun", "开始")
CERTIFIED = Phrase("with a sum", "得出总和")
RELEASES = Phrase("models that went out", "发出的模型")
OPERATED_WORDS = Phrase(
    "Institutions let in: {approved}; turned away: {revoked}. Heads of their ledgers that were "
    "witnessed: {heads}.",
    "获准加入的机构：{approved}；被拒绝的机构：{revoked}。经见证的机构账本头：{heads}。",
)
JOINED_AT = Phrase("joined (UTC)", "参加时间 (UTC)")
UPLOADED = Phrase("bytes uploaded", "上传字节")
UPLOAD_DIGEST = Phrase("digest of the upload", "上传内容的摘要")
EARLIER = Phrase(
    "The last {shown} of {count} rounds are shown.", "共 {count} 轮，此处显示最后 {shown} 轮。"
)

# 6. Recomputation

SECTION_RECOMPUTATION = Phrase("Every ε computed again", "重新计算每个 ε")
RECOMPUTATION_WORDS = Phrase(
    "From q, σ, T and δ, as the ledger has them, by two programs that share no code: ours, and "
    "Google's dp-accounting. They agree if they are within {relative} or {absolute} of each other.",
    "根据账本中的 q、σ、T 和 δ，由两个互不共享代码的程序计算：本项目的程序与 Google 的 "
    "dp-accounting。相差在 {relative} 或 {absolute} 以内即视为一致。",
)
RECOMPUTATION_BOUND = Phrase(
    "For scores ours is an upper bound, which dp-accounting must not exceed.",
    "对于评分，本项目给出的是上界，dp-accounting 的结果不得超过它。",
)
RECOMPUTATION_KINDS = Phrase(
    "The ε of a grant and of what an agreement has spent differ because the grant's filter adds up "
    "Rényi divergences at its one order, while an agreement's ε comes from its whole privacy loss "
    "distribution, which is tighter; both are upper bounds.",
    "额度的 ε 与协议已消耗的 ε 之所以不同，是因为额度的过滤器在其单一阶数上累加 Rényi 散度，而协议"
    "的 ε 由完整的隐私损失分布得出，更为紧致；两者都是上界。",
)
RECOMPUTATION_ONE = Phrase(
    "From q, σ, T and δ, as the ledger has them, by our program alone: the second, Google's "
    "dp-accounting, was not installed, so there is nothing to compare with.",
    "根据账本中的 q、σ、T 和 δ，仅由本项目的程序计算：未安装第二个程序（Google 的 dp-accounting），"
    "因此无从比较。",
)
RECOMPUTATION_IMPOSSIBLE = Phrase(
    "It could not be done: the entries of the ledger do not fit each other.",
    "无法进行：账本中的条目互不吻合。",
)
RECOMPUTATION_NONE = Phrase(
    "Nothing was reserved, so there is nothing to compute.", "没有任何预留，因此无需计算。"
)
AMOUNTS_CAPTION = Phrase("Each ε, by both programs", "两个程序算出的每个 ε")
AMOUNTS_CAPTION_ONE = Phrase("Each ε, by one program", "一个程序算出的每个 ε")
AMOUNT = Phrase("what", "内容")
AMOUNTS: Phrases = {
    "grant": Phrase(
        "grant {subject}, spent, at order {order}", "额度 {subject}，已消耗，阶数 {order}"
    ),
    "spent": Phrase("agreement {subject}, spent", "协议 {subject}，已消耗"),
    "schedule": Phrase("agreement {subject}, whole schedule", "协议 {subject}，完整计划"),
}
OURS = Phrase("ours", "本项目")
THEIRS = Phrase("dp-accounting", "dp-accounting")
DIFFERENCE = Phrase("difference", "差值")
CLAIMED = Phrase("claimed", "声明值")
AGREEMENT_OF_BOTH: Phrases = {
    "agree": Phrase("agree", "一致"),
    "bounded": Phrase("within our bound", "在上界之内"),
    "apart": Phrase("do not agree", "不一致"),
    "beyond": Phrase("above its claim", "超出声明值"),
    "alone": Phrase("not compared", "未比较"),
}

# 7. Self-tests

SECTION_SELFTESTS = Phrase("Self-tests", "自检")
SELFTESTS_WORDS = Phrase(
    "Before a run the machinery of training is tried out on made-up rows: clipping, noise, "
    "sampling, counts. It finds mistakes in code, libraries and machines. A vault that lies "
    "passes it.",
    "运行之前，在虚构数据上检验训练机制：裁剪、噪声、抽样、计数。它能发现代码、程序库和设备中的错"
    "误。说谎的保管库也能通过。",
)
SELFTESTS_NONE = Phrase("There is no self-test on this ledger.", "本账本中没有自检记录。")
SELFTESTS_COUNT = Phrase(
    "{passed} passed, {failed} failed.", "{passed} 次通过，{failed} 次未通过。"
)
SELFTESTS_CAPTION = Phrase("Self-tests, in order", "自检（按顺序）")
ATTEMPT = Phrase("attempt", "第几次尝试")
TESTS = Phrase("tests", "项目数")
FAILED = Phrase("failed", "未通过的项目")
PASSED = Phrase("passed", "通过")
NOT_PASSED = Phrase("failed", "未通过")
STANDARD_TERMS = Phrase("standard terms", "标准条款")
TRIED_CAPTION = Phrase("What was tried", "检验的内容")
LOWER_BOUND = Phrase("Empirical lower bound on ε", "ε 的经验下界")
LOWER_BOUND_WORDS = Phrase(
    "It is not on the ledger; the institution sees it with comity client selftest. It would "
    "belong to the run of a self-test and say nothing about rows.",
    "账本中没有该数值；机构可用 comity client selftest 查看。它只属于自检运行，不说明任何数据的情况"
    "。",
)
TESTED: Phrases = {
    "noise-scale": Phrase("the noise is as large as promised", "噪声与承诺的一样大"),
    "noise-shape": Phrase("the noise is Gaussian", "噪声服从高斯分布"),
    "noise-repeats": Phrase("no noise comes twice", "噪声不重复"),
    "noise-neighbours": Phrase("noise is new in each step", "每一步的噪声都是新的"),
    "noise-sum": Phrase("noise adds up as independent noise does", "噪声之和与独立噪声一致"),
    "clipping": Phrase(
        "a row moves the sum by the clipping norm, no more", "一行对总和的影响不超过裁剪范数"
    ),
    "sampling-rate": Phrase("records are drawn as often as agreed", "记录的抽取频率与约定一致"),
    "sampling-run": Phrase(
        "made-up rows are drawn as often as agreed", "虚构行的抽取频率与约定一致"
    ),
    "sampling-canaries": Phrase("each row is drawn afresh every time", "每一行每次都重新抽取"),
    "sampling-steps": Phrase("the sizes of batches vary as they should", "批次大小的变化正常"),
    "lower-bound": Phrase("an attack does not refute the claim", "一次攻击未能推翻声明"),
    "steps": Phrase(
        "as many vectors of noise as steps that are booked", "噪声向量数与记账步数相同"
    ),
    "keystreams": Phrase("no key of noise is used twice", "噪声密钥不重复使用"),
    "once": Phrase("nothing is twice in a batch", "同一批次中没有重复"),
    "blocks-gradients": Phrase(
        "real rows do not move what made-up rows move", "真实行不影响虚构行所影响的部分"
    ),
    "blocks-divisor": Phrase("the divisor counts no made-up row", "除数不计入虚构行"),
    "blocks-after": Phrase("nothing after the noise mixes the two", "噪声之后两者互不混合"),
    "step": Phrase(
        "a step of the real model equals a loop over single rows", "真实模型的一步等于逐行循环"
    ),
}

# 8. Traffic

SECTION_TRAFFIC = Phrase("What crossed the border", "跨越边界的内容")
TRAFFIC_WORDS = Phrase(
    "Every message is on the ledger before it is sent. It is either covered by the budget, or a "
    "control message of a closed list, none of whose values depends on rows.",
    "每条消息在发送之前都已记入账本。它要么由预算覆盖，要么属于控制消息的封闭清单，其中任何数值都不"
    "依赖数据。",
)
TRAFFIC_WORDS_OPERATOR = Phrase(
    "What arrived, as the operator wrote it down. Whether that is all, and whether the same left, "
    "shows when an institution's ledger is held against this one.",
    "运营方所记录的到达内容。是否完整、是否与流出的内容相同，须将机构的账本与本账本比对才能看出。",
)
TRAFFIC_NONE = Phrase("No message left, and none arrived.", "没有消息流出，也没有消息流入。")
TRAFFIC_CHART = Phrase("Bytes that left, by country", "按国家/地区统计的流出字节")
TRAFFIC_CHART_TOLD = Phrase("{country}: {bytes} bytes", "{country}：{bytes} 字节")
EGRESS_CAPTION = Phrase(
    "What left, by country, purpose and message", "按国家/地区、目的和消息统计的流出内容"
)
INGRESS_CAPTION = Phrase(
    "What arrived, by country, purpose and message", "按国家/地区、目的和消息统计的流入内容"
)
COVERED_BY = Phrase("covered by", "覆盖方式")
BY_BUDGET = Phrase("the budget", "预算")
BY_LIST = Phrase("the closed list", "封闭清单")
LEGEND_BUDGET = Phrase(
    "covered by the budget: computed from rows, with noise", "由预算覆盖：由数据计算得出，带噪声"
)
LEGEND_BUDGET_SILENT = Phrase(
    "covered by the budget: computed from rows, in part or wholly without noise",
    "由预算覆盖：由数据计算得出，部分或全部不带噪声",
)
LEGEND_LIST = Phrase("control messages of the closed list", "封闭清单中的控制消息")
RECEIVER = Phrase("receiver", "接收方")
SENDER = Phrase("sender", "发送方")
MESSAGE = Phrase("message", "消息")
TOTAL = Phrase("total", "合计")
UNMATCHED_TITLE = Phrase("Held against the operator's ledger", "与运营方账本的比对")
UNMATCHED_OPEN = Phrase(
    "Not checked: the operator's ledger was not given. Whether everything that left arrived, and "
    "nothing else did, is open.",
    "未检查：没有提供运营方的账本。流出的内容是否全部到达、是否没有其他内容到达，尚无结论。",
)
UNMATCHED = Phrase(
    "In both ledgers, with the same digest and size: messages {matched}, bytes {bytes}.",
    "在双方账本中摘要与大小均相同的：消息 {matched} 条，字节 {bytes}。",
)
UNMATCHED_CAPTION = Phrase("Unmatched", "不匹配")
UNMATCHED_WHAT = Phrase("message", "消息")
ONLY_ARRIVED = Phrase("arrived, and did not leave by this ledger", "已到达，但本账本没有流出记录")
ONLY_LEFT = Phrase(
    "left, and did not arrive by the operator's ledger", "已流出，但运营方账本没有到达记录"
)
NEWER = Phrase("arrived after this package ends", "在本审计包结束之后到达")
UNMATCHED_WORDS = Phrase(
    "What left and did not arrive may be a connection that broke, or an operator who keeps silent. "
    "What arrived and did not leave is a finding.",
    "已流出但未到达，可能是连接中断，也可能是运营方隐瞒。已到达但没有流出记录，则属于问题。",
)
PURPOSES: Phrases = {
    "federated-training": Phrase("federated training", "联合训练"),
    "federated-evaluation": Phrase("federated evaluation", "联合评估"),
    "enrolment": Phrase("enrolment", "加入登记"),
    "agreement": Phrase("agreement", "协议"),
    "connection-test": Phrase("test of the connection", "连接测试"),
}
UPLOAD_SILENT = Phrase(
    "masked update or score, in part or wholly without noise", "掩码更新或评分，部分或全部不带噪声"
)
KINDS: Phrases = {
    "upload": Phrase("masked update or score, with noise", "带噪声的掩码更新或评分"),
    "greet": Phrase("greeting with an invitation", "持邀请问候"),
    "enrol": Phrase("own public keys", "自己的公钥"),
    "ask": Phrase("asking whether it is approved", "询问是否获批"),
    "follow": Phrase("asking for own messages", "索取自己的消息"),
    "probe": Phrase("random bytes that measure the line", "测量线路的随机字节"),
    "fetch-agreements": Phrase("asking for agreements", "索取协议"),
    "fetch-plan": Phrase("asking for the plan of a round", "索取轮次计划"),
    "fetch-total": Phrase("asking for the sum of a round", "索取轮次总和"),
    "fetch-model": Phrase("asking for a model to go on with", "索取用于继续训练的模型"),
    "parcel_kind_signature": Phrase("signature under an agreement", "协议签名"),
    "parcel_kind_withdrawal": Phrase("withdrawal from an agreement", "退出协议"),
    "parcel_kind_epoch_keys": Phrase("fresh public key for masks", "用于掩码的新公钥"),
    "parcel_kind_epoch_halves": Phrase("sealed random numbers for masks", "用于掩码的密封随机数"),
    "parcel_kind_epoch_views": Phrase("digest of all keys, as seen here", "所见全部密钥的摘要"),
    "parcel_kind_decline": Phrase("declining a round, with a code", "以代码谢绝某一轮"),
    "parcel_kind_reveal": Phrase("what takes the masks off the sum", "用于去除总和掩码的内容"),
    "parcel_kind_endorsement": Phrase("digest of the next model", "下一个模型的摘要"),
    "parcel_kind_head": Phrase("head of the ledger, for witnesses", "供见证的账本头"),
    "parcel_kind_cosignature": Phrase("signature under another's head", "对他人账本头的联署"),
    "parcel_kind_objection": Phrase("objection to another's head", "对他人账本头的异议"),
}

# 9. Incidents

SECTION_INCIDENTS = Phrase("Refusals and incidents", "拒绝与事件")
INCIDENTS_CAPTION = Phrase("Counted", "计数")
EVENT = Phrase("event", "事件")
EVENTS: Phrases = {
    "refusals": Phrase("refusals", "拒绝"),
    "voids": Phrase("void rounds", "无效轮次"),
    "complaints": Phrase("complaints about a share", "对密钥分片的投诉"),
    "restores": Phrase(
        "ledger found older than what was said before", "发现账本早于先前声明的状态"
    ),
    "declared": Phrase("restores that a person declared", "由人声明的恢复"),
    "forfeited": Phrase("reserves counted as spent without a release", "未流出但视为已消耗的预留"),
    "refunded": Phrase("reserves given back", "已退还的预留"),
    "notes": Phrase("remarks and corrections", "备注与更正"),
    "policies": Phrase("own rules set", "自行设定的规则"),
    "key-epochs": Phrase("fresh keys for masks", "掩码密钥更新"),
    "key-rotations": Phrase("rotations of lasting keys", "长期密钥轮换"),
}
REFUSALS_CAPTION = Phrase("Refusals by reason", "按原因统计的拒绝")
REASON = Phrase("reason", "原因")
REFUSALS: Phrases = {
    "unknown-agreement": Phrase("the agreement is unknown", "协议未知"),
    "agreement-expired": Phrase("the agreement is over", "协议已到期"),
    "policy": Phrase("the institution's own rules", "机构自身的规则"),
    "budget": Phrase("the budget does not allow it", "预算不允许"),
    "plan": Phrase("the plan is not as agreed", "计划与约定不符"),
    "survivors": Phrase("the list of survivors is not as agreed", "幸存者名单与约定不符"),
    "parcel": Phrase("a message was not as it must be", "消息不符合要求"),
    "upload": Phrase("the operator did not take the upload", "运营方未接收上传"),
    "stale-round": Phrase("the round is over", "轮次已结束"),
    "behind": Phrase("the institution is behind", "机构进度落后"),
    "interrupted": Phrase("it was interrupted", "已被中断"),
    "restored": Phrase("the vault was put back", "保管库被恢复过"),
    "selftest": Phrase("the self-test failed", "自检未通过"),
    "unavailable": Phrase("not available", "不可用"),
}
INCIDENTS_LIST = Phrase("Incidents and remarks, in order", "事件与备注（按顺序）")
TOLD = Phrase("in the words of who wrote it", "记录者原文")
INCIDENT_KINDS: Phrases = {
    "round.void": Phrase("round void", "轮次无效"),
    "round.complaint": Phrase("complaint", "投诉"),
    "restore": Phrase("found older", "发现过旧"),
    "restore.declared": Phrase("restore declared", "声明恢复"),
    "note": Phrase("remark", "备注"),
    "budget.refund": Phrase("reserve given back", "预留退还"),
    "budget.charge": Phrase("reserve forfeited", "预留作废"),
}
INCIDENTS_NONE = Phrase("Nothing of the kind is on the ledger.", "账本中没有此类记录。")
ROTATIONS_WORDS = Phrase(
    "Erasures of rows have no entry of their own in this release, so the ledger is silent about "
    "them.",
    "当前版本没有数据删除的专门条目，因此账本对此没有记录。",
)

# 10. Integrity

SECTION_INTEGRITY = Phrase("Integrity of the log", "日志完整性")
INTEGRITY_WORDS = Phrase(
    "The log is a Merkle tree of signed entries (RFC 6962). Its head was signed by the owner and "
    "cosigned by others, who cosign only what extends the last head they have seen.",
    "日志是由签名条目构成的 Merkle 树 (RFC 6962)。其头部由所有者签名并由他人联署；"
    "联署人只联署延续其上次所见账本头的内容。",
)
HEAD_CAPTION = Phrase("The head", "账本头")
ORIGIN = Phrase("log", "日志")
SIZE = Phrase("entries", "条目数")
ROOT = Phrase("root", "根哈希")
GENERATIONS = Phrase("generations", "账本世代")
PACKAGE = Phrase("package", "审计包")
PACKAGE_SHA256 = Phrase("SHA-256 of the package", "审计包的 SHA-256")
PACKAGE_BYTES = Phrase("bytes of the package", "审计包字节数")
WITNESSES_CAPTION = Phrase("Who cosigned it", "联署人")
WITNESS = Phrase("witness", "见证人")
COUNTS = Phrase("counts for the quorum of {needed}", "计入法定人数（{needed}）")
STEPS_CAPTION = Phrase("What was verified, step by step", "逐步验证的内容")
STEPS_WORDS = Phrase(
    "What the verifier says is quoted in its own words.",
    "“验证程序的说明”一栏引用验证程序的英文原文。",
)
STEP = Phrase("step", "步骤")
CHECKED = Phrase("what is checked", "检查内容")
DETAIL = Phrase("what the verifier says", "验证程序的说明")
STEP_NAMES: Phrases = {
    "agreements": Phrase("agreements", "协议"),
    "anchor": Phrase("anchor", "外部确认"),
    "entries": Phrase("entries", "条目"),
    "head": Phrase("head", "账本头"),
    "witnesses": Phrase("witnesses", "见证人"),
    "older head": Phrase("older head", "较早的账本头"),
    "outsiders": Phrase("outside witnesses", "外部见证人"),
    "restores": Phrase("restores", "恢复"),
    "signatures": Phrase("signatures", "签名"),
    "budget": Phrase("budget", "预算"),
    "rounds": Phrase("rounds", "轮次"),
    "self-tests": Phrase("self-tests", "自检"),
    "traffic": Phrase("traffic", "流量"),
    "arrivals": Phrase("arrivals", "流入"),
    "runs": Phrase("runs", "运行"),
    "heads": Phrase("heads", "见证的账本头"),
    "crossings": Phrase("crossings", "双方比对"),
}
STEP_OUTCOMES: Phrases = {
    "holds": Phrase("holds", "成立"),
    "fails": Phrase("fails", "不成立"),
    "word": Phrase("taken on somebody's word", "以他人陈述为准"),
    "absent": Phrase("not checked", "未检查"),
    "unanchored": Phrase("unanchored", "未经外部确认"),
    "inapplicable": Phrase("does not apply to this ledger", "不适用于本账本"),
}
COMMAND_TITLE = Phrase("See for yourself", "自行验证")
COMMAND_WORDS = Phrase(
    "This works without a network. Take the words from an institution that you trust, not from "
    "this page; take the program from the project's release, not from whoever gave you the "
    "package.",
    "上述命令无需联网。请从您信任的机构获取单词，而不要使用本页中的单词；请从项目发布渠道获取程序，"
    "而不要使用提供审计包的一方所给的程序。",
)
COMMAND_WORD = Phrase("word word …", "单词 单词 …")
COMMAND_KEEP = Phrase(
    "Keep the head: extracted from the package it is the file head.note. A later package must go "
    "on from it, which --head checks.",
    "请保存账本头：它是审计包中的 head.note 文件。之后的审计包必须延续它，--head 选项用于检查。",
)

# 11. Evidence

SECTION_EVIDENCE = Phrase("Evidence for clauses of law", "与法律条款相关的证据")
EVIDENCE_WORDS = Phrase(
    "Present means that the facts are in this report; missing, that one of them is not. Neither "
    "says whether a duty was done, or whether a law applies: that is for people to decide. A law "
    "is shown as applicable if a party is in one of its countries, a clause on transfers if "
    "another party is outside. What clauses ask for is told in our own words; the law's own text "
    "decides. No other law was looked at; the countries of the parties may have some.",
    "“具备”表示相关事实载于本报告；“缺少”表示其中至少一项未载。两者都不说明义务是否已履行，也不说"
    "明某项法律是否适用：这须由人判断。若某一方位于某法律的国家/地区，则该法律显示为适用；若另有"
    "一方位于其外，则跨境传输条款显示为适用。条款内容以我们自己的话转述，以法律原文为准。未考察"
    "其他法律；各方所在国家/地区可能另有规定。",
)
REGIME_BECAUSE = Phrase(
    "Shown as applicable because of: {countries}.", "显示为适用，因为涉及：{countries}。"
)
REGIME_NONE = Phrase(
    "Not applicable: no party is in one of its countries.", "不适用：没有任何一方位于其国家/地区。"
)
CLAUSE = Phrase("clause", "条款")
ARTICLE = Phrase("Art. {number}", "第 {number} 条")
ASKS = Phrase("asks for", "要求")
STATUS = Phrase("evidence in this report", "本报告中的证据")
ELSEWHERE = Phrase("to be asked for elsewhere", "须另行获取")
STATUSES: Phrases = {
    "present": Phrase("present", "具备"),
    "missing": Phrase("missing", "缺少"),
    "not-applicable": Phrase("not applicable", "不适用"),
}
FACTS: Phrases = {
    "purpose": Phrase("purpose", "目的"),
    "parties": Phrase("parties and countries", "参与方与国家/地区"),
    "signed-terms": Phrase("signed terms", "已签署的条款"),
    "egress-log": Phrase("log of what left", "流出记录"),
    "covered": Phrase("nothing left uncovered", "流出内容均有覆盖"),
    "matched": Phrase("both sides' records match", "双方记录一致"),
    "privacy-claim": Phrase("privacy claim", "隐私声明"),
    "budget-kept": Phrase("budget kept", "预算得到遵守"),
    "recomputed": Phrase("ε computed twice", "ε 经两次计算"),
    "self-tests": Phrase("self-tests", "自检"),
    "integrity": Phrase("whole log", "日志完整"),
    "witnesses": Phrase("witnesses", "见证人"),
    "vouched": Phrase("keys vouched for", "密钥经外部确认"),
    "incident-log": Phrase("log of incidents", "事件记录"),
    "limits": Phrase("stated limits", "说明的局限"),
    "legal-basis": Phrase("legal basis", "法律依据"),
    "data-description": Phrase("kinds of data and persons", "数据与人员类别"),
}
FACT_OF_INSTITUTIONS = Phrase(", which an institution's report can show", "，可由机构的报告证明")

# 12. Limits

SECTION_LIMITS = Phrase("What cannot be concluded", "无法得出的结论")
LIMITS_WORDS = Phrase(
    "Whatever this report says, none of the following follows from it.",
    "无论本报告内容如何，都不能由此得出以下任何一点。",
)
